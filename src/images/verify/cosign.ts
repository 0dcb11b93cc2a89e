import * as v from "valibot";
import { type Descriptor, mediaTypes } from "../../core/descriptor.ts";
import { type Digest, digestOf, splitDigest } from "../../core/digest.ts";
import type { Distribution, DistributionOptions } from "../../core/distribution.ts";
import { codeOf, Failure } from "../../core/errors.ts";
import { GrowingBytes } from "../../core/growing_bytes.ts";
import { parse } from "../../core/parse.ts";
import { formatReference, type ImageReference } from "../../core/reference.ts";
import { documentBytes, readJson, readManifest } from "../read_manifest.ts";
import { bytesOfBase64 } from "./public_key.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What somebody signed, and claims of an image. Nothing of it is true before the signature has been checked. */
export interface Signature {
  /** Where it was found, for messages. */
  readonly where: string;
  readonly signed: Bytes;
  readonly signature: Bytes;
  /** The images that it is about. */
  readonly digests: readonly string[];
  /** What the image was called there; undefined in a form that has no room for it. */
  readonly name: string | undefined;
}

/** What of a registry says something of an image's signatures. */
export interface Signatures {
  readonly found: readonly Signature[];
  /** What looked like one and is none, and why. */
  readonly malformed: readonly string[];
}

/** More than these are not looked at: whoever may push can add as many as he likes. */
const maxSignatures = 64;
const maxReferrers = 32;
/** A payload or a bundle. */
const maxPayloadBytes = 1 << 20;

const simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json";
const signatureAnnotation = "dev.cosignproject.cosign/signature";
const signatureArtifact = "application/vnd.dev.cosign.artifact.sig.v1+json";
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v0\.3\+json|\+json;version=0\.[123])$/;
const statementType = "application/vnd.in-toto+json";
const signPredicate = "https://sigstore.dev/cosign/sign/v1";

/** @see https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md */
const PayloadSchema = v.object({
  critical: v.object({
    type: v.picklist(["cosign container image signature", "atomic container signature"]),
    image: v.object({ "docker-manifest-digest": v.string() }),
    identity: v.object({ "docker-reference": v.string() }),
  }),
});

/** @see https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto */
const BundleSchema = v.object({
  dsseEnvelope: v.object({
    payload: v.string(),
    payloadType: v.literal(statementType),
    signatures: v.pipe(v.array(v.object({ sig: v.string() })), v.minLength(1), v.maxLength(maxSignatures)),
  }),
});

/** @see https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md */
const StatementSchema = v.object({
  subject: v.pipe(v.array(v.object({ digest: v.record(v.string(), v.string()) })), v.minLength(1), v.maxLength(64)),
  // Other statements are about an image, too, such as what it is made of; they approve of nothing.
  predicateType: v.literal(signPredicate),
});

/**
 * Looks for the signatures that cosign put beside an image: under the tag `sha256-….sig`, and among its referrers, as
 * signatures or as bundles.
 * @throws what the registry answers, except that it has none; resource_exhausted for what is too large.
 */
export async function findSignatures(
  distribution: Distribution,
  { registry, repository }: ImageReference,
  image: Digest,
  options: DistributionOptions,
): Promise<Signatures> {
  const found: Signature[] = [];
  const malformed: string[] = [];
  const collect = async (reference: ImageReference, descriptor: Descriptor | undefined, where: string) => {
    try {
      const manifest = descriptor ?? await distribution.resolve(reference, options);
      const document = readManifest(
        await bytesOf(distribution, reference, manifest, documentBytes, options),
        manifest.digest,
        manifest.mediaType,
      );
      if (document.kind !== "manifest") throw new Failure("invalid_argument", "it is an index");
      for (const layer of document.manifest.layers) {
        if (found.length >= maxSignatures) return;
        const read = layer.mediaType === simpleSigning
          ? simpleSignature
          : bundleType.test(layer.mediaType)
          ? bundledSignatures
          : undefined;
        if (read === undefined) continue;
        found.push(...read(await bytesOf(distribution, reference, layer, maxPayloadBytes, options), layer, where));
      }
    } catch (error) {
      if (descriptor === undefined && codeOf(error) === "not_found") return;
      if (!(error instanceof Failure) || !["invalid_argument", "data_loss", "not_found"].includes(error.code)) {
        throw error;
      }
      malformed.push(`${where}: ${error.message}`);
    }
  };
  const { algorithm, hex } = splitDigest(image);
  const tag = `${algorithm}-${hex}.sig`;
  // The tag of a sha512 digest would be too long to be one.
  if (tag.length <= 128) await collect({ registry, repository, tag }, undefined, `tag ${tag}`);
  const referrers = await distribution.referrers({ registry, repository, digest: image }, options);
  const signing = referrers.filter(({ artifactType = "", mediaType }) =>
    mediaType === mediaTypes.manifest && (artifactType === signatureArtifact || bundleType.test(artifactType))
  );
  for (const { mediaType, digest, size } of signing.slice(0, maxReferrers)) {
    await collect({ registry, repository, digest }, { mediaType, digest, size }, `referrer ${digest}`);
  }
  return { found, malformed };
}

/** Reads a small blob, and sees that it is what its digest says. */
async function bytesOf(
  distribution: Distribution,
  reference: ImageReference,
  descriptor: Descriptor,
  limitBytes: number,
  options: DistributionOptions,
): Promise<Bytes> {
  const action = `cannot read ${descriptor.digest} of ${formatReference(reference)}`;
  if (descriptor.size > limitBytes) {
    throw new Failure("resource_exhausted", `${action}: it has ${descriptor.size} bytes, want ${limitBytes} at most`);
  }
  const { body } = await distribution.fetch(reference, descriptor, options);
  const collected = new GrowingBytes();
  for await (const chunk of body) {
    collected.push(chunk);
    if (collected.length > descriptor.size) break;
  }
  const bytes = collected.bytes();
  if (bytes.length === descriptor.size && await digestOf(bytes) === descriptor.digest) return bytes;
  throw new Failure("data_loss", `${action}: other bytes came than its digest names`);
}

function simpleSignature(signed: Bytes, layer: Descriptor, where: string): readonly Signature[] {
  const signature = bytesOfBase64(layer.annotations?.[signatureAnnotation] ?? "");
  const action = "cannot read its payload";
  const { critical } = parse(PayloadSchema, readJson(signed, action), action);
  if (signature === undefined || signature.length === 0) {
    throw new Failure("invalid_argument", `its annotation ${signatureAnnotation} is no signature`);
  }
  const digests = [critical.image["docker-manifest-digest"]];
  return [{ where, signed, signature, digests, name: critical.identity["docker-reference"] }];
}

function bundledSignatures(bytes: Bytes, _layer: Descriptor, where: string): readonly Signature[] {
  const action = "cannot read its bundle";
  const { payload, payloadType, signatures } = parse(BundleSchema, readJson(bytes, action), action).dsseEnvelope;
  const body = bytesOfBase64(payload) ?? new Uint8Array();
  const { subject } = parse(StatementSchema, readJson(body, action), action);
  const digests = subject.flatMap(({ digest }) => Object.entries(digest).map(([name, hex]) => `${name}:${hex}`));
  const signed = preAuthentication(payloadType, body);
  return signatures.map(({ sig }) => {
    const signature = bytesOfBase64(sig) ?? new Uint8Array();
    return { where, signed, signature, digests, name: undefined };
  });
}

/** @see https://github.com/secure-systems-lab/dsse/blob/master/protocol.md */
function preAuthentication(type: string, body: Bytes): Bytes {
  const head = new TextEncoder().encode(`DSSEv1 ${type.length} ${type} ${body.length} `);
  const signed = new Uint8Array(head.length + body.length);
  signed.set(head);
  signed.set(body, head.length);
  return signed;
}
