import { createPrivateKey, X509Certificate } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { Failure, messageOf } from "../core/errors.ts";
import type { TlsIdentity } from "../core/host.ts";
import type { Logger } from "../core/logger.ts";

/** The most that a certificate's file, with its chain, or a key's may have. */
const maxBytes = 1024 * 1024;
/** How often they are looked at. A look is two calls of the kernel. */
const everyMs = 1000;

export interface TlsFilesOptions {
  /** A certificate, its chain behind it, in PEM. */
  readonly cert: string;
  /** Its private key, in PEM. */
  readonly key: string;
  readonly log: Logger;
}

/**
 * A certificate and its key from files, which may change at any time: one by one, renamed over, or behind a link. Until both
 * fit each other again, those from before are used.
 */
export class TlsFiles implements Disposable {
  readonly #options: TlsFilesOptions;
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();
  #identity: TlsIdentity;
  #seen: string;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @throws failed_precondition for files that are not there, or no certificate and the key of it. */
  constructor(options: TlsFilesOptions) {
    this.#options = options;
    this.#seen = this.#look();
    this.#identity = read(options);
  }

  get identity(): TlsIdentity {
    return this.#identity;
  }

  /** Calls back with each that comes to be in place of the one before. */
  watch(listener: (identity: TlsIdentity) => void): void {
    this.#listeners.add(listener);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.check(), everyMs);
    this.#timer.unref?.();
  }

  /** Looks whether the files have changed. */
  check(): void {
    const now = this.#look();
    if (now === this.#seen) return;
    this.#seen = now;
    const { log, cert } = this.#options;
    let identity: TlsIdentity;
    try {
      identity = read(this.#options);
      if (identity.cert === this.#identity.cert && identity.key === this.#identity.key) return;
      for (const listener of this.#listeners) listener(identity);
    } catch (error) {
      // As long as one of two has been replaced, it is the other's turn; the next change is looked at again.
      log.warn("the certificate has changed and cannot be used, the one from before still is", {
        cert,
        reason: messageOf(error),
      });
      return;
    }
    this.#identity = identity;
    log.info("took up another certificate", { cert, validTo: new X509Certificate(identity.cert).validTo });
  }

  /** What tells one state of the files from another, wherever links lead. */
  #look(): string {
    return [this.#options.cert, this.#options.key].map((path) => {
      try {
        const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path);
        return [dev, ino, size, mtimeMs, ctimeMs].join(":");
      } catch {
        return "none";
      }
    }).join(" ");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }
}

function read({ cert: certPath, key: keyPath, log }: TlsFilesOptions): TlsIdentity {
  const cert = readText(certPath, "tlsCert");
  const key = readText(keyPath, "tlsKey", (mode) => {
    if ((mode & 0o007) !== 0) {
      log.warn("every user of the machine can read the private key: chmod o= it", { key: keyPath });
    }
  });
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch (cause) {
    throw unusable(`tlsCert ${certPath}`, "it holds no certificate in PEM", cause);
  }
  let fits: boolean;
  try {
    fits = certificate.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    // What the parser says may quote the key.
    throw unusable(`tlsKey ${keyPath}`, "it holds no private key in PEM without a password", cause);
  }
  if (!fits) throw unusable(`tlsKey ${keyPath}`, `it is not the key of the certificate in ${certPath}`);
  if (Date.parse(certificate.validTo) < Date.now()) {
    log.warn("the certificate has expired", { cert: certPath, validTo: certificate.validTo });
  }
  return { cert, key };
}

function readText(path: string, option: string, onMode: (mode: number) => void = () => {}): string {
  let fd: number;
  try {
    if (!statSync(path).isFile()) throw new Error("it is no file");
    fd = openSync(path, "r");
  } catch (cause) {
    throw unusable(`${option} ${path}`, messageOf(cause), cause);
  }
  try {
    const { size, mode } = fstatSync(fd);
    onMode(mode);
    if (size > maxBytes) throw unusable(`${option} ${path}`, `it has more than ${maxBytes} bytes`);
    const bytes = new Uint8Array(size);
    const length = readSync(fd, bytes, 0, size, 0);
    return new TextDecoder().decode(bytes.subarray(0, length));
  } finally {
    closeSync(fd);
  }
}

function unusable(what: string, why: string, cause?: unknown): Failure {
  return new Failure("failed_precondition", `cannot use ${what}: ${why}`, { cause });
}
