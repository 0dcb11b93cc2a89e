import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TlsIdentity } from "../../src/core/host.ts";

/** A certificate for `localhost` and 127.0.0.1, signed by itself, with its key, as files of a folder. */
export interface Certificate extends TlsIdentity {
  readonly certPath: string;
  readonly keyPath: string;
}

/** @param name what it is called: its subject's common name. */
export function makeCertificate(folder: string, name: string): Certificate {
  const [certPath, keyPath] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  execFileSync("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
    ...["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-keyout", keyPath, "-out", certPath],
  ], { stdio: "ignore" });
  return { certPath, keyPath, cert: readFileSync(certPath, "utf8"), key: readFileSync(keyPath, "utf8") };
}
