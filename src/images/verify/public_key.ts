import { Failure } from "../../core/errors.ts";

interface KeyForm {
  /** The key's AlgorithmIdentifier in DER, in hex. */
  readonly identifier: string;
  readonly algorithm: EcKeyImportParams | RsaHashedImportParams | Algorithm;
  readonly verify: EcdsaParams | Algorithm;
  /** A signature as WebCrypto takes it. @throws for what is none. */
  readonly raw?: (signature: Bytes) => Bytes;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** @see https://www.rfc-editor.org/rfc/rfc5480 https://www.rfc-editor.org/rfc/rfc3279 https://www.rfc-editor.org/rfc/rfc8410 */
const forms: readonly KeyForm[] = [
  {
    identifier: "301306072a8648ce3d020106082a8648ce3d030107",
    algorithm: { name: "ECDSA", namedCurve: "P-256" },
    verify: { name: "ECDSA", hash: "SHA-256" },
    raw: (signature) => ecdsaRaw(signature, 32),
  },
  {
    identifier: "300d06092a864886f70d0101010500",
    algorithm: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
    verify: { name: "RSASSA-PKCS1-v1_5" },
  },
  { identifier: "300506032b6570", algorithm: { name: "Ed25519" }, verify: { name: "Ed25519" } },
];

/** A public key that signatures are checked with. */
export class PublicKey {
  /** Where it is from. */
  readonly name: string;
  readonly #key: CryptoKey;
  readonly #form: KeyForm;

  private constructor(name: string, key: CryptoKey, form: KeyForm) {
    this.name = name;
    this.#key = key;
    this.#form = form;
  }

  /**
   * Reads a key as `cosign generate-key-pair` and `openssl pkey -pubout` write it.
   * @param name its file, for messages.
   * @throws invalid_argument for what is no key of ECDSA P-256, RSA or Ed25519.
   */
  static async read(name: string, pem: string): Promise<PublicKey> {
    const refused = (cause?: unknown) =>
      new Failure(
        "invalid_argument",
        `cannot read the key ${JSON.stringify(name)}: want one public key in PEM (BEGIN PUBLIC KEY), of ECDSA P-256, ` +
          "RSA or Ed25519",
        { cause },
      );
    const [, base64] = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(pem) ?? [];
    const der = base64 === undefined ? undefined : bytesOfBase64(base64.replace(/\s/g, ""));
    if (der === undefined) throw refused();
    // The outer sequence's head has 2 to 4 bytes; the algorithm stands right behind it.
    const head = (der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] ?? 0) & 0x7f);
    const hex = Array.from(der.subarray(head, head + 32), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const form = forms.find(({ identifier }) => hex.startsWith(identifier));
    if (form === undefined) throw refused();
    try {
      return new PublicKey(name, await crypto.subtle.importKey("spki", der, form.algorithm, false, ["verify"]), form);
    } catch (error) {
      throw refused(error);
    }
  }

  /** Whether a signature, as Go's libraries write it, is this key's of some bytes. */
  async verifies(signature: Bytes, data: Bytes): Promise<boolean> {
    const { verify, raw } = this.#form;
    const bytes = raw === undefined ? signature : raw(signature);
    return bytes.length > 0 && await crypto.subtle.verify(verify, this.#key, bytes, data);
  }
}

/** @returns undefined for what is no base64. */
export function bytesOfBase64(base64: string): Bytes | undefined {
  try {
    return Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/**
 * An ECDSA signature's two numbers, side by side, from `SEQUENCE { INTEGER r, INTEGER s }`.
 * @returns no bytes for what is none.
 */
function ecdsaRaw(der: Bytes, width: number): Bytes {
  const raw = new Uint8Array(2 * width);
  if (der[0] !== 0x30 || der[1] !== der.length - 2) return new Uint8Array();
  let at = 2;
  for (const end of [width, 2 * width]) {
    const length = der[at + 1] ?? 0;
    const number = der.subarray(at + 2, at + 2 + length);
    if (der[at] !== 2 || length === 0 || number.length !== length) return new Uint8Array();
    const digits = number[0] === 0 ? number.subarray(1) : number;
    if (digits.length > width) return new Uint8Array();
    raw.set(digits, end - digits.length);
    at += 2 + length;
  }
  return at === der.length ? raw : new Uint8Array();
}
