const ivBytes = 12;
const utf8 = new TextEncoder();

/**
 * Seals values with AES-256-GCM, by a key for each namespace that HKDF derives from one key. What is sealed is bound to its
 * namespace and name: a row that is put in the place of another one does not open.
 * @see https://www.rfc-editor.org/rfc/rfc5869
 */
export class SecretCipher {
  readonly #key: Promise<CryptoKey>;

  /** @param key 32 bytes. */
  constructor(key: Uint8Array<ArrayBuffer>) {
    this.#key = crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveKey"]);
  }

  /** @returns a random initialization vector, and behind it what was sealed. */
  async seal(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    const iv = crypto.getRandomValues(new Uint8Array(ivBytes));
    const key = await this.#keyOf(namespace);
    const sealed = new Uint8Array(
      await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: placeOf(namespace, name) }, key, value),
    );
    const all = new Uint8Array(ivBytes + sealed.length);
    all.set(iv);
    all.set(sealed, ivBytes);
    return all;
  }

  /** @returns undefined for what this key has not sealed for that name. */
  async open(
    namespace: string,
    name: string,
    sealed: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const iv = sealed.subarray(0, ivBytes);
    const key = await this.#keyOf(namespace);
    try {
      return new Uint8Array(
        await crypto.subtle.decrypt(
          { name: "AES-GCM", iv, additionalData: placeOf(namespace, name) },
          key,
          sealed.subarray(ivBytes),
        ),
      );
    } catch {
      // WebCrypto tells no more than that.
      return undefined;
    }
  }

  async #keyOf(namespace: string): Promise<CryptoKey> {
    return await crypto.subtle.deriveKey(
      { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: utf8.encode(`mayfly secrets of ${namespace}`) },
      await this.#key,
      { name: "AES-GCM", length: 256 },
      false,
      ["encrypt", "decrypt"],
    );
  }
}

/** Names have no slash. */
function placeOf(namespace: string, name: string): Uint8Array<ArrayBuffer> {
  return utf8.encode(`${namespace}/${name}`);
}
