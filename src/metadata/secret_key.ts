import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { Failure, messageOf } from "../core/errors.ts";

/** 32 bytes in hexadecimal digits. */
export const secretKeyForm = /^[0-9a-fA-F]{64}$/;

/**
 * Reads the key file, and makes it where there is none: 32 random bytes, for root alone.
 * @throws failed_precondition for a file that is no key, or that others may read.
 */
export function readSecretKey(path: string): Uint8Array<ArrayBuffer> {
  const text = readText(path) ?? makeKey(path);
  if (!secretKeyForm.test(text)) {
    throw new Failure(
      "failed_precondition",
      `cannot use the key of secrets in ${JSON.stringify(path)}: it is not 64 hexadecimal digits: put the key back; ` +
        "or remove the file, and make the secrets again",
    );
  }
  return keyOf(text);
}

/** The bytes of a key. @param text as `secretKeyForm` says. */
export function keyOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new Failure(
      "failed_precondition",
      `cannot read the key of secrets ${JSON.stringify(path)}: ${messageOf(cause)}`,
      { cause },
    );
  }
}

/** It is on disk, whole, before anything is sealed with it. */
function makeKey(path: string): string {
  const text = Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  const partial = `${path}.new`;
  // A process that was killed here has sealed nothing.
  rmSync(partial, { force: true });
  const fd = openSync(partial, "wx", 0o600);
  try {
    writeSync(fd, `${text}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  linkSync(partial, path);
  rmSync(partial);
  syncFolder(dirname(path));
  return text;
}

function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
