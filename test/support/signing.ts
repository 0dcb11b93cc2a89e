import { Buffer } from "node:buffer";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { digestOfBytes } from "./layout_folder.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export const keyKinds = ["ECDSA", "RSA", "Ed25519"] as const;

/** Somebody who signs images as cosign does. */
export interface Signer {
  /** The public key, in PEM. */
  readonly pem: string;
  /** A signature as Go's libraries write it. */
  sign(data: Bytes): Promise<Bytes>;
}

export async function makeSigner(kind: (typeof keyKinds)[number] = "ECDSA"): Promise<Signer> {
  const { algorithm, signing }: {
    algorithm: EcKeyGenParams | RsaHashedKeyGenParams;
    signing: AlgorithmIdentifier | EcdsaParams;
  } = {
    ECDSA: { algorithm: { name: "ECDSA", namedCurve: "P-256" }, signing: { name: "ECDSA", hash: "SHA-256" } },
    RSA: {
      algorithm: {
        name: "RSASSA-PKCS1-v1_5",
        modulusLength: 2048,
        publicExponent: new Uint8Array([1, 0, 1]),
        hash: "SHA-256",
      },
      signing: { name: "RSASSA-PKCS1-v1_5" },
    },
    Ed25519: { algorithm: { name: "Ed25519", namedCurve: "Ed25519" }, signing: { name: "Ed25519" } },
  }[kind];
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const spki = Buffer.from(await crypto.subtle.exportKey("spki", pair.publicKey)).toString("base64");
  return {
    pem: `-----BEGIN PUBLIC KEY-----\n${spki.replace(/.{64}/g, "$&\n")}\n-----END PUBLIC KEY-----\n`,
    async sign(data) {
      const raw = new Uint8Array(await crypto.subtle.sign(signing, pair.privateKey, data));
      return kind === "ECDSA" ? ecdsaDer(raw) : raw;
    },
  };
}

/** `SEQUENCE { INTEGER r, INTEGER s }` of the two numbers side by side. */
function ecdsaDer(raw: Bytes): Bytes {
  const numbers = [raw.subarray(0, raw.length / 2), raw.subarray(raw.length / 2)].flatMap((number) => {
    const start = number.findIndex((byte) => byte !== 0);
    const digits = [...number.subarray(start)];
    if ((digits[0] ?? 0) >= 0x80) digits.unshift(0);
    return [2, digits.length, ...digits];
  });
  return Uint8Array.from([0x30, numbers.length, ...numbers]);
}

/** What `cosign sign` signs. */
export function simplePayload(digest: string, name: string): Bytes {
  return new TextEncoder().encode(JSON.stringify({
    critical: {
      identity: { "docker-reference": name },
      image: { "docker-manifest-digest": digest },
      type: "cosign container image signature",
    },
    optional: null,
  }));
}

/** A layer of a signature. */
export interface SignedLayer {
  readonly content: Bytes;
  readonly mediaType: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A layer as cosign 2 writes it. */
export async function simpleLayer(signer: Signer, payload: Bytes, signed = payload): Promise<SignedLayer> {
  const signature = Buffer.from(await signer.sign(signed)).toString("base64");
  return {
    content: payload,
    mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
    annotations: { "dev.cosignproject.cosign/signature": signature },
  };
}

export const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** A layer as cosign 3 writes it. @param predicateType what it says of the image. */
export async function bundleLayer(
  signer: Signer,
  digest: string,
  predicateType = "https://sigstore.dev/cosign/sign/v1",
): Promise<SignedLayer> {
  const payloadType = "application/vnd.in-toto+json";
  const statement = Buffer.from(JSON.stringify({
    _type: "https://in-toto.io/Statement/v1",
    subject: [{ digest: { sha256: digest.slice("sha256:".length) } }],
    predicateType,
    predicate: {},
  }));
  const signed = Buffer.concat([
    Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${statement.length} `),
    statement,
  ]);
  const sig = Buffer.from(await signer.sign(new Uint8Array(signed))).toString("base64");
  const content = JSON.stringify({
    mediaType: bundleType,
    verificationMaterial: { publicKey: { hint: "" }, tlogEntries: [] },
    dsseEnvelope: { payload: statement.toString("base64"), payloadType, signatures: [{ sig }] },
  });
  return { content: new TextEncoder().encode(content), mediaType: bundleType };
}

/** Where signatures are put: `http://127.0.0.1:5000/v2/team/app`. */
export interface SignatureHome {
  readonly url: string;
  readonly authorization?: string;
}

/**
 * Puts signatures beside an image.
 * @param at the tag; undefined for what is found by its subject alone.
 * @returns the manifest's descriptor.
 */
export async function putSignatures(
  { url, authorization }: SignatureHome,
  at: string | undefined,
  layers: readonly SignedLayer[],
  more: Readonly<Record<string, unknown>> = {},
) {
  const headers: Readonly<Record<string, string>> = authorization === undefined ? {} : { authorization };
  const put = async (mediaType: string, content: Bytes) => {
    const digest = digestOfBytes(content);
    const opened = await fetch(`${url}/blobs/uploads/`, { method: "POST", headers });
    await opened.body?.cancel();
    const to = new URL(opened.headers.get("location") ?? "", url);
    to.searchParams.set("digest", digest);
    const sent = await fetch(to, {
      method: "PUT",
      headers: { ...headers, "content-type": "application/octet-stream" },
      body: content,
    });
    if (sent.status !== 201) throw new Error(`PUT of a blob: ${sent.status} ${await sent.text()}`);
    await sent.body?.cancel();
    return { mediaType, digest, size: content.length };
  };
  const described = [];
  for (const { content, mediaType, annotations } of layers) {
    described.push({ ...await put(mediaType, content), ...(annotations && { annotations }) });
  }
  const manifest = new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: await put(mediaTypes.config, new TextEncoder().encode("{}")),
    layers: described,
    ...more,
  }));
  const digest = digestOfBytes(manifest);
  const sent = await fetch(`${url}/manifests/${at ?? digest}`, {
    method: "PUT",
    headers: { ...headers, "content-type": mediaTypes.manifest },
    body: manifest,
  });
  if (sent.status !== 201) throw new Error(`PUT of a manifest: ${sent.status} ${await sent.text()}`);
  await sent.body?.cancel();
  return { mediaType: mediaTypes.manifest, digest, size: manifest.length };
}

/** The tag under which cosign puts an image's signatures. */
export const signatureTag = (digest: string) => `${digest.replace(":", "-")}.sig`;
