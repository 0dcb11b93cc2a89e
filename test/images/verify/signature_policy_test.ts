import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { type Descriptor, mediaTypes } from "../../../src/core/descriptor.ts";
import { codeOf, type ErrorCode, messageOf } from "../../../src/core/errors.ts";
import type { ImageRule } from "../../../src/core/image_policy.ts";
import { parseReference } from "../../../src/core/reference.ts";
import { Registry } from "../../../src/distribution/registry.ts";
import { currentHost } from "../../../src/host/mod.ts";
import { Images } from "../../../src/images/images.ts";
import { PublicKey } from "../../../src/images/verify/public_key.ts";
import { SignaturePolicy } from "../../../src/images/verify/signature_policy.ts";
import { registryEnv, registryFlags, tokens } from "../../registry/client.ts";
import { LayoutFolder } from "../../support/layout_folder.ts";
import { startRegistry, type TestRegistry } from "../../support/registry.ts";
import {
  bundleLayer,
  bundleType,
  keyKinds,
  makeSigner,
  putSignatures,
  signatureTag,
  type SignedLayer,
  type Signer,
  simpleLayer,
  simplePayload,
} from "../../support/signing.ts";
import { World } from "../../support/world.ts";
import { openRoom, type Room } from "../room.ts";
import { tarOf } from "../tar_bytes.ts";

const distribution = new Registry({
  plainHttp: [],
  credentials: async () => undefined,
  headerTimeoutMs: 5000,
  stallTimeoutMs: 5000,
  retry: { attempts: 1, baseMs: 1, maxMs: 1 },
});

describe("a policy of signatures", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-verify-"));
  const key = join(folder, "acme.pub");
  let registry: TestRegistry;
  let room: Room;
  let acme: Signer;
  let other: Signer;
  let layout: LayoutFolder;
  let manifest: Descriptor;
  let count = 0;
  before(async () => {
    [acme, other] = [makeSigner(), makeSigner()];
    writeFileSync(key, acme.pem);
    registry = await startRegistry();
    room = await openRoom(join(folder, "root"));
    layout = new LayoutFolder(join(folder, "layout"));
    manifest = layout.image([tarOf({ path: "a", content: "a" })]);
    layout.name({ one: manifest, all: layout.put(mediaTypes.index, { schemaVersion: 2, manifests: [manifest] }) });
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await room?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Copies the image to a repository of its own. */
  const pushed = async (which: "one" | "all" = "one") => {
    const repository = `acme/app${count++}`;
    await registry.push(`oci:${layout.path}:${which}`, `${repository}:1`, which === "all" ? ["--all"] : []);
    const name = `${registry.host}/${repository}`;
    const { digest } = await distribution.resolve(parseReference(`${name}:1`));
    return { name, repository, digest, home: { url: `http://${registry.host}/v2/${repository}` } };
  };
  const rule = (more: Partial<Extract<ImageRule, { policy: "require" }>> = {}): ImageRule => ({
    images: registry.host,
    policy: "require",
    keys: [key],
    ...more,
  });
  const imagesUnder = async (rules: readonly ImageRule[]) =>
    new Images({
      ...room,
      distribution,
      host: await currentHost(),
      verifiers: [await SignaturePolicy.open(distribution, rules)],
    });
  const pull = async (name: string, rules: readonly ImageRule[] = [rule()], namespace = "default") =>
    await (await imagesUnder(rules)).pull(namespace, `${name}:1`);
  const refuses = (promise: Promise<unknown>, text: RegExp, code: ErrorCode = "permission_denied") =>
    assert.rejects(promise, (error) => {
      assert.equal(codeOf(error), code, String(error));
      assert.match(messageOf(error), text);
      return true;
    });

  for (const kind of keyKinds) {
    it(`takes what is signed with ${kind}, and nothing that is not`, async () => {
      const signer = makeSigner(kind);
      const path = join(folder, `${kind}.pub`);
      writeFileSync(path, signer.pem);
      const { name, digest, home } = await pushed();
      const rules = [rule({ keys: [key, path] })];
      await refuses(
        pull(name, rules),
        /sha256:\w+ is not signed .* found no signature; wanted one by .*acme\.pub or .*: have it signed: cosign sign --key … .*@sha256:/,
      );
      assert.equal(await room.metadata.images.get("default", `${name}:1`), undefined);
      const payload = simplePayload(digest, name);
      const changed = payload.map((byte, i) => i === 10 ? byte ^ 1 : byte);
      await putSignatures(home, signatureTag(digest), [simpleLayer(signer, payload, changed)]);
      await refuses(pull(name, rules), /found tag sha256-\w+\.sig: by none of the keys/);
      await putSignatures(home, signatureTag(digest), [
        simpleLayer(other, payload),
        simpleLayer(signer, payload),
      ]);
      assert.equal((await pull(name, rules)).target.digest, digest);
    });
  }

  it("fetches nothing of an image that is refused", async () => {
    const fresh = await openRoom(join(folder, "fresh"));
    const { name } = await pushed();
    const verifiers = [await SignaturePolicy.open(distribution, [rule()])];
    const images = new Images({ ...fresh, distribution, host: await currentHost(), verifiers });
    await refuses(images.pull("default", `${name}:1`), /found no signature/);
    assert.deepEqual(await fresh.content.ingests(), []);
    await assert.rejects(fresh.content.info(manifest.digest));
    assert.deepEqual(await fresh.metadata.leases.list(), []);
    await fresh[Symbol.asyncDispose]();
  });

  it("takes the signature of an index for all of it", async () => {
    const { name, digest, home } = await pushed("all");
    await putSignatures(home, signatureTag(manifest.digest), [
      simpleLayer(acme, simplePayload(manifest.digest, name)),
    ]);
    await refuses(pull(name), /found no signature/);
    await putSignatures(home, signatureTag(digest), [simpleLayer(acme, simplePayload(digest, name))]);
    assert.equal((await pull(name)).target.digest, digest);
  });

  const wrong: readonly [what: string, layer: (digest: string, name: string) => SignedLayer, text: RegExp][] = [
    ["another's signature", (digest, name) => simpleLayer(other, simplePayload(digest, name)), /by none of the keys/],
    [
      "the signature of another image",
      (_digest, name) => simpleLayer(acme, simplePayload(`sha256:${"0".repeat(64)}`, name)),
      /of another image, sha256:0000/,
    ],
    [
      "the signature of the same image elsewhere",
      (digest) => simpleLayer(acme, simplePayload(digest, "ghcr.io/evil/app")),
      /of "ghcr.io\/evil\/app", wanted "127\.0\.0\.1:\d+\/acme\/app\d+" \(if it is a copy, say "signedAs"\)/,
    ],
    ["a signature of no name", (digest) => simpleLayer(acme, simplePayload(digest, "")), /of "", wanted/],
    [
      "a payload that is no JSON",
      () => simpleLayer(acme, new TextEncoder().encode("{")),
      /cannot read its payload: it is no JSON/,
    ],
    ["another form of payload", () => simpleLayer(acme, new TextEncoder().encode("{}")), /"critical" is missing/],
    [
      "a signature that is no base64",
      (digest, name) => ({
        ...simpleLayer(acme, simplePayload(digest, name)),
        annotations: { "dev.cosignproject.cosign/signature": "&&&" },
      }),
      /its annotation dev.cosignproject.cosign\/signature is no signature/,
    ],
    [
      "a signature that is no DER",
      (digest, name) => ({
        ...simpleLayer(acme, simplePayload(digest, name)),
        annotations: { "dev.cosignproject.cosign/signature": Buffer.from("0000000000").toString("base64") },
      }),
      /by none of the keys/,
    ],
    [
      "a statement of something else",
      (digest) => bundleLayer(acme, digest, "https://slsa.dev/provenance/v1"),
      /"predicateType" is "https:\/\/slsa/,
    ],
    ["the bundle of another", (digest) => bundleLayer(other, digest), /by none of the keys/],
    [
      "the bundle of another image",
      () => bundleLayer(acme, `sha256:${"0".repeat(64)}`),
      /of another image, sha256:0000/,
    ],
  ];
  for (const [what, layer, text] of wrong) {
    it(`refuses ${what}, also beside nothing better`, async () => {
      const { name, digest, home } = await pushed();
      await putSignatures(home, signatureTag(digest), [await layer(digest, name)]);
      await refuses(pull(name), text);
    });
  }

  it("takes a copy as what it was signed as", async () => {
    const { name, repository, digest, home } = await pushed();
    await putSignatures(home, signatureTag(digest), [
      simpleLayer(acme, simplePayload(digest, `ghcr.io/${repository}`)),
    ]);
    await pull(name, [rule({ signedAs: "ghcr.io" })]);
    await refuses(pull(name, [rule({ images: `${registry.host}/acme`, signedAs: "ghcr.io" })]), /wanted "ghcr.io\/app/);
  });

  it("finds signatures and bundles among the referrers of a registry without the list", async () => {
    for (const form of ["signature", "bundle"]) {
      const { name, digest, home } = await pushed();
      const artifactType = form === "bundle" ? bundleType : "application/vnd.dev.cosign.artifact.sig.v1+json";
      const layer = form === "bundle" ? bundleLayer(acme, digest) : simpleLayer(acme, simplePayload(digest, name));
      const subject = { ...manifest, digest };
      const referrer = await putSignatures(home, undefined, [layer], { artifactType, subject });
      const index = JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.index,
        manifests: [{ ...referrer, artifactType }],
      });
      await refuses(pull(name), /found no signature/);
      const answer = await fetch(`${home.url}/manifests/${digest.replace(":", "-")}`, {
        method: "PUT",
        headers: { "content-type": mediaTypes.index },
        body: index,
      });
      await answer.body?.cancel();
      assert.equal(answer.status, 201);
      await pull(name);
    }
  });

  it("finds signatures and bundles by the list of referrers", async () => {
    await using world = await World.open(registryFlags, registryEnv);
    const host = world.registry;
    const credentials = { username: "default", password: tokens.default };
    const policy = await SignaturePolicy.open(distribution, [rule({ images: host })]);
    for (const form of ["signature", "bundle"]) {
      const name = `${host}/acme/${form}`;
      await promisify(execFile)("skopeo", [
        ...["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", `--dest-creds=default:${tokens.default}`],
        ...[`oci:${layout.path}:one`, `docker://${name}:1`],
      ]);
      const reference = parseReference(`${name}:1`);
      const target = await distribution.resolve(reference, { credentials });
      const verify = () => policy.verify({ namespace: "default", reference, target }, { credentials });
      await refuses(verify(), /found no signature/);
      const layer = form === "bundle"
        ? bundleLayer(acme, target.digest)
        : simpleLayer(acme, simplePayload(target.digest, name));
      const artifactType = form === "bundle" ? bundleType : "application/vnd.dev.cosign.artifact.sig.v1+json";
      const authorization = `Basic ${Buffer.from(`default:${tokens.default}`).toString("base64")}`;
      const home = { url: `http://${host}/v2/acme/${form}`, authorization };
      await putSignatures(home, undefined, [layer], { artifactType, subject: target });
      await verify();
    }
  });

  it("goes by the first rule that fits", async () => {
    const { name, repository } = await pushed();
    const reject = { policy: "reject" } as const;
    await refuses(pull(name, [reject]), /is refused by the rule for all images/);
    await pull(name, []);
    await pull(name, [{ images: name, policy: "accept" }, reject]);
    await pull(name, [{ images: `${registry.host}/acme`, policy: "accept" }, reject]);
    await refuses(pull(name, [{ images: `${registry.host}/acm`, policy: "accept" }, reject]), /all images/);
    await refuses(pull(name, [{ images: repository, policy: "accept" }, reject]), /all images/);
    await pull(name, [{ ...reject, namespace: "team" }]);
    await refuses(pull(name, [{ ...reject, namespace: "team" }], "team"), /all images in namespace team/);
  });

  it("holds for all that a daemon pulls", async () => {
    await using world = await World.open({ verify: JSON.stringify([rule()]) });
    const { name, digest, home } = await pushed();
    const answer = await world.ask("PUT", "/v1/functions/app", { image: `${name}:1`, command: ["/bin/true"] });
    const problem = await answer.json();
    assert.equal(answer.status, 403, JSON.stringify(problem));
    assert.equal(problem.code, "permission_denied");
    assert.match(problem.detail, /found no signature; wanted one by .*acme\.pub/);
    await putSignatures(home, signatureTag(digest), [simpleLayer(acme, simplePayload(digest, name))]);
    const pulled = await world.ask("POST", "/v1/images", { reference: `${name}:1` });
    assert.match(await pulled.text(), /\{"image":\{.*\}\}\n$/);
  });

  it("is asked of an image that is here, too", async () => {
    const { name, digest, home } = await pushed();
    await pull(name, []);
    const verdicts = async (rules: readonly ImageRule[]) => {
      const { verdicts, ok } = await (await imagesUnder(rules)).verify("default", `${name}:1`);
      return [verdicts[0]?.state, verdicts[0]?.reason, ok];
    };
    assert.deepEqual(await verdicts([]), ["accepted", "no rule is for it", true]);
    const [state, reason, ok] = await verdicts([rule()]);
    assert.deepEqual([state, ok], ["refused", false]);
    assert.match(String(reason), /^cannot accept .*found no signature/);
    await putSignatures(home, signatureTag(digest), [simpleLayer(acme, simplePayload(digest, name))]);
    const found = `signed by ${key} (tag ${signatureTag(digest)})`;
    assert.deepEqual(await verdicts([rule()]), ["accepted", found, true]);
  });

  it("does not take a registry that cannot be asked for one without signatures", async () => {
    const { name } = await pushed();
    const asked = new Proxy(distribution, {
      get: (target, property) =>
        property === "resolve"
          ? target.resolve.bind(target)
          : property === "referrers"
          ? (...args: Parameters<Registry["referrers"]>) => target.referrers({ ...args[0], registry: "127.0.0.1:1" })
          : target.fetch.bind(target),
    });
    const verifiers = [await SignaturePolicy.open(asked, [rule()])];
    const images = new Images({ ...room, distribution, host: await currentHost(), verifiers });
    await refuses(images.pull("default", `${name}:1`), /127\.0\.0\.1:1/, "unavailable");
    await pull(name, []);
    const { verdicts: [verdict], ok } = await images.verify("default", `${name}:1`);
    assert.deepEqual([verdict?.state, ok], ["unknown", false]);
  });

  it("is not opened with keys that are none", async () => {
    const none = join(folder, "none.pub");
    await refuses(SignaturePolicy.open(distribution, [rule({ keys: [none] })]), /none\.pub/, "failed_precondition");
    for (
      const text of [
        "",
        "key",
        acme.pem + acme.pem,
        acme.pem.replace("M", "N"),
        acme.pem.replaceAll("PUBLIC", "PRIVATE"),
      ]
    ) {
      await refuses(PublicKey.read("k.pub", text), /"k\.pub": want one public key in PEM/, "invalid_argument");
    }
  });

  // As OpenSSL writes them: not every host makes such keys.
  const others: readonly [what: string, identifier: string, bits: number][] = [
    ["RSA-PSS", "300b06092a864886f70d01010a", 2048],
    ["ECDSA secp256k1", "301006072a8648ce3d020106052b8104000a", 512],
    ["ECDSA P-224", "300e06072a8648ce3d020106052b81040021", 448],
    ["Ed448", "300506032b6571", 456],
    ["X25519", "300506032b656e", 256],
    ["ML-DSA-65", "300b0609608648016503040312", 15616],
    ["the algorithm 2.999.1", "300506038837 01".replace(" ", ""), 256],
  ];
  for (const [what, identifier, bits] of others) {
    it(`is not opened with a key of ${what}, which is named`, async () => {
      const key = Buffer.concat([Buffer.from(identifier, "hex"), Buffer.alloc(bits / 8 + 3)]);
      const der = Buffer.concat([Buffer.from([0x30, 0x82, key.length >> 8, key.length & 255]), key]);
      const pem = `-----BEGIN PUBLIC KEY-----\n${der.toString("base64")}\n-----END PUBLIC KEY-----\n`;
      const text = new RegExp(`"k\\.pub": it is of ${what}: want one of ECDSA P-256, P-384 or P-521, RSA`);
      await refuses(PublicKey.read("k.pub", pem), text, "unimplemented");
    });
  }

  it("is not opened with an RSA key that is too short", async () => {
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    await refuses(PublicKey.read("k.pub", pem), /its modulus has 1024 bits, want 2048 at least/, "invalid_argument");
  });
});
