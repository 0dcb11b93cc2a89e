import { Failure } from "../../core/errors.ts";

interface KeyForm {
  /** The key's AlgorithmIdentifier in DER, in hex. */
  readonly identifier: string;
  readonly algorithm: EcKeyImportParams | RsaHashedImportParams | Algorithm;
  /** By which parameters a signature of it may be made. */
  readonly verify: readonly (EcdsaParams | Algorithm)[];
  /** A signature as WebCrypto takes it; no bytes for what is none. */
  readonly raw?: (signature: Bytes) => Bytes;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** @param hashes what cosign signs with: with the curve's own in version 3, always with SHA-256 before. */
function ecdsa(namedCurve: string, identifier: string, width: number, hashes: readonly string[]): KeyForm {
  return {
    identifier,
    algorithm: { name: "ECDSA", namedCurve },
    verify: hashes.map((hash) => ({ name: "ECDSA", hash })),
    raw: (signature) => ecdsaRaw(signature, width),
  };
}

/** @see https://www.rfc-editor.org/rfc/rfc5480 https://www.rfc-editor.org/rfc/rfc3279 https://www.rfc-editor.org/rfc/rfc8410 */
const forms: readonly KeyForm[] = [
  ecdsa("P-256", "301306072a8648ce3d020106082a8648ce3d030107", 32, ["SHA-256"]),
  ecdsa("P-384", "301006072a8648ce3d020106052b81040022", 48, ["SHA-384", "SHA-256"]),
  // Deno's WebCrypto takes no hash with this curve that is shorter than half of it.
  ecdsa("P-521", "301006072a8648ce3d020106052b81040023", 66, ["SHA-512"]),
  {
    identifier: "300d06092a864886f70d0101010500",
    algorithm: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
    verify: [{ name: "RSASSA-PKCS1-v1_5" }],
  },
  { identifier: "300506032b6570", algorithm: { name: "Ed25519" }, verify: [{ name: "Ed25519" }] },
];

/** What is taken, for messages. */
const wanted = "ECDSA P-256, P-384 or P-521, RSA or Ed25519";

/** Algorithms that a key may be of and that WebCrypto has not on all hosts, by their object identifiers in DER, in hex. */
const others: readonly (readonly [identifier: string, name: string])[] = [
  ["06092a864886f70d01010a", "RSA-PSS"],
  ["06072a8648ce3d020106052b8104000a", "ECDSA secp256k1"],
  ["06072a8648ce3d020106052b81040021", "ECDSA P-224"],
  ["06072a8648ce3d0201", "ECDSA on another curve"],
  ["06032b656e", "X25519"],
  ["06032b656f", "X448"],
  ["06032b6571", "Ed448"],
  ["0609608648016503040311", "ML-DSA-44"],
  ["0609608648016503040312", "ML-DSA-65"],
  ["0609608648016503040313", "ML-DSA-87"],
];

/** As sigstore wants it, and NIST. */
const leastRsaBits = 2048;

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
   * @throws invalid_argument for what is no public key, or too short a one; unimplemented for one of another algorithm.
   */
  static async read(name: string, pem: string): Promise<PublicKey> {
    const action = `cannot read the key ${JSON.stringify(name)}`;
    const none = (cause?: unknown) =>
      new Failure("invalid_argument", `${action}: want one public key in PEM (BEGIN PUBLIC KEY), of ${wanted}`, {
        cause,
      });
    const [, base64] = /^\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*$/.exec(pem) ?? [];
    const der = base64 === undefined ? undefined : bytesOfBase64(base64.replace(/\s/g, ""));
    if (der === undefined) throw none();
    // The outer sequence's head has 2 to 4 bytes; the algorithm stands right behind it.
    const head = (der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] ?? 0) & 0x7f);
    const hex = Array.from(der.subarray(head, head + 32), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const form = forms.find(({ identifier }) => hex.startsWith(identifier));
    if (form === undefined) {
      const algorithm = algorithmOf(hex);
      if (algorithm === undefined) throw none();
      throw new Failure("unimplemented", `${action}: it is of ${algorithm}: want one of ${wanted}`);
    }
    const key = await crypto.subtle.importKey("spki", der, form.algorithm, false, ["verify"]).catch((error) => {
      throw none(error);
    });
    const bits = "modulusLength" in key.algorithm ? Number(key.algorithm.modulusLength) : undefined;
    if (bits === undefined || bits >= leastRsaBits) return new PublicKey(name, key, form);
    throw new Failure("invalid_argument", `${action}: its modulus has ${bits} bits, want ${leastRsaBits} at least`);
  }

  /** Whether a signature, as Go's libraries write it, is this key's of some bytes. */
  async verifies(signature: Bytes, data: Bytes): Promise<boolean> {
    const { verify, raw } = this.#form;
    const bytes = raw === undefined ? signature : raw(signature);
    if (bytes.length === 0) return false;
    for (const params of verify) if (await crypto.subtle.verify(params, this.#key, bytes, data)) return true;
    return false;
  }
}

/**
 * What a key that is not taken is of, for a message.
 * @param hex the beginning of its SubjectPublicKeyInfo behind the outer head.
 * @returns undefined for what is no algorithm's identifier.
 */
function algorithmOf(hex: string): string | undefined {
  const identifier = /^30[0-7][0-9a-f](06[0-7][0-9a-f].*)$/.exec(hex)?.[1];
  if (identifier === undefined) return undefined;
  const known = others.find(([prefix]) => identifier.startsWith(prefix))?.[1];
  return known ?? `the algorithm ${objectIdentifier(identifier)}`;
}

/** `2.999.1`, from DER in hex. */
function objectIdentifier(hex: string): string {
  const length = parseInt(hex.slice(2, 4), 16);
  const numbers: number[] = [];
  let number = 0;
  for (const [pair] of hex.slice(4, 4 + 2 * length).matchAll(/../g)) {
    const byte = parseInt(pair, 16);
    number = number * 128 + (byte & 127);
    if (byte >= 128) continue;
    // The first one holds two.
    const first = Math.min(Math.floor(number / 40), 2);
    numbers.push(...numbers.length === 0 ? [first, number - 40 * first] : [number]);
    number = 0;
  }
  return numbers.join(".");
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
  // The numbers of the longest curve have more bytes together than one byte of length can say.
  let at = der[1] === 0x81 ? 3 : 2;
  if (der[0] !== 0x30 || der[at - 1] !== der.length - at) return new Uint8Array();
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
