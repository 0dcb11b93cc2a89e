import { Buffer } from "node:buffer";
import { generateKeyPairSync, sign } from "node:crypto";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { digestOfBytes } from "./layout_folder.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a key is, and how it is used: cosign 2 signed with SHA-256 whatever the curve was. */
const kinds = {
  "ECDSA P-256": () => ({ ...generateKeyPairSync("ec", { namedCurve: "P-256" }), hash: "sha256" }),
  "ECDSA P-384": () => ({ ...generateKeyPairSync("ec", { namedCurve: "P-384" }), hash: "sha384" }),
  "ECDSA P-384 and SHA-256": () => ({ ...generateKeyPairSync("ec", { namedCurve: "P-384" }), hash: "sha256" }),
  "ECDSA P-521": () => ({ ...generateKeyPairSync("ec", { namedCurve: "P-521" }), hash: "sha512" }),
  "RSA": () => ({ ...generateKeyPairSync("rsa", { modulusLength: 2048 }), hash: "sha256" }),
  "Ed25519": () => ({ ...generateKeyPairSync("ed25519"), hash: undefined }),
} as const;
export const keyKinds = Object.keys(kinds) as readonly (keyof typeof kinds)[];

/** Somebody who signs images as cosign does. */
export interface Signer {
  /** The public key, in PEM. */
  readonly pem: string;
  /** A signature as Go's libraries write it. */
  sign(data: Bytes): Bytes;
}

export function makeSigner(kind: keyof typeof kinds = "ECDSA P-256"): Signer {
  const { publicKey, privateKey, hash } = kinds[kind]();
  return {
    pem: publicKey.export({ type: "spki", format: "pem" }).toString(),
    sign: (data) => new Uint8Array(sign(hash, data, privateKey)),
  };
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
export function simpleLayer(signer: Signer, payload: Bytes, signed = payload): SignedLayer {
  const signature = Buffer.from(signer.sign(signed)).toString("base64");
  return {
    content: payload,
    mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
    annotations: { "dev.cosignproject.cosign/signature": signature },
  };
}

export const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** A layer as cosign 3 writes it. @param predicateType what it says of the image. */
export function bundleLayer(
  signer: Signer,
  digest: string,
  predicateType = "https://sigstore.dev/cosign/sign/v1",
): SignedLayer {
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
  const sig = Buffer.from(signer.sign(new Uint8Array(signed))).toString("base64");
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
