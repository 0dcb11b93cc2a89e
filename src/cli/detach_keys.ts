import { Failure } from "../core/errors.ts";

export const defaultDetachKeys = "ctrl-p,ctrl-q";

/**
 * `ctrl-p,ctrl-q` → its bytes. A key is a character, or `ctrl-` and one of a–z, `@`, `[`, `\`, `]`, `^`, `_`.
 * @throws invalid_argument.
 */
export function parseDetachKeys(text: string): readonly number[] {
  return text.split(",").map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[\x20-\x7e]$/.test(key)) return key.charCodeAt(0);
    throw new Failure("invalid_argument", `--detach-keys is ${JSON.stringify(text)}, wanted keys as ctrl-p,ctrl-q`);
  });
}

/** Looks for the keys in what is typed: keys that may be the beginning of them are held back until the next one. */
export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** @returns what is to be sent, and whether the keys were all there, behind it. */
  filter(chunk: Uint8Array): { readonly send: Uint8Array; readonly detached: boolean } {
    const send: number[] = [];
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.#keys.length) return { send: new Uint8Array(send), detached: true };
        continue;
      }
      send.push(...this.#keys.slice(0, this.#matched));
      this.#matched = byte === this.#keys[0] ? 1 : 0;
      if (this.#matched === 0) send.push(byte);
    }
    return { send: new Uint8Array(send), detached: false };
  }
}
