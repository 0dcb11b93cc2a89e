import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";
import type { LinkedManifest } from "../../src/core/repository.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { temporaryMetadata } from "./open.ts";

const at = { namespace: "default", repository: "team/app" };

function manifest(name: string, more: Partial<LinkedManifest> = {}): LinkedManifest {
  return { digest: digestOfBytes(name), mediaType: mediaTypes.manifest, size: 2, references: [], ...more };
}

describe("LibsqlRepositoryStore", () => {
  it("links content to one repository of one namespace", async () => {
    await using opened = await temporaryMetadata();
    const { repositories } = opened.metadata;
    const [blob, other] = [digestOfBytes("blob"), digestOfBytes("other")];
    const linked = manifest("linked", { references: [blob], annotations: { a: "b" }, artifactType: "x/y" });
    assert.equal(await repositories.has(at), false);
    await repositories.putBlobs(at, [blob]);
    await repositories.putBlobs(at, [blob]);
    await repositories.putManifest(at, linked);
    await repositories.putManifest(at, linked);
    assert.deepEqual(await repositories.manifest(at, linked.digest), { ...linked, subject: undefined });
    assert.deepEqual([...await repositories.blobs(at, [other, blob])], [blob]);
    assert.equal(await repositories.has(at), true);
    assert.equal(await repositories.needs(at, blob), true);
    assert.equal(await repositories.needs(at, other), false);
    for (const elsewhere of [{ ...at, namespace: "team" }, { ...at, repository: "team" }]) {
      assert.equal(await repositories.manifest(elsewhere, linked.digest), undefined);
      assert.deepEqual([...await repositories.blobs(elsewhere, [blob])], []);
      assert.equal(await repositories.needs(elsewhere, blob), false);
      assert.equal(await repositories.has(elsewhere), false);
    }
    assert.deepEqual([await repositories.hasBlob("default", blob), await repositories.hasBlob("team", blob)], [
      true,
      false,
    ]);
    const links = async () => (await repositories.links()).toSorted();
    assert.deepEqual(await links(), [blob, linked.digest].sort());
    assert.deepEqual([await repositories.deleteBlob(at, blob), await repositories.deleteBlob(at, blob)], [true, false]);
    assert.equal(await repositories.deleteManifest(at, linked.digest), true);
    assert.equal(await repositories.deleteManifest(at, linked.digest), false);
    assert.deepEqual(await links(), []);
  });

  it("forgets a namespace that is deleted", async () => {
    await using opened = await temporaryMetadata();
    const { repositories, namespaces } = opened.metadata;
    const team = { ...at, namespace: "team" };
    await namespaces.ensure("team");
    await repositories.putBlobs(team, [digestOfBytes("blob")]);
    await repositories.putManifest(team, manifest("manifest"));
    assert.equal(await namespaces.delete("team"), true);
    assert.equal(await repositories.has(team), false);
  });

  it("lists what refers to a subject, some at a time", async () => {
    await using opened = await temporaryMetadata();
    const { repositories } = opened.metadata;
    const subject = digestOfBytes("subject");
    const referrers = ["a", "b", "c"].map((name) => manifest(name, { subject }));
    for (const each of [...referrers, manifest("d")]) await repositories.putManifest(at, each);
    const wanted = referrers.map(({ digest }) => digest).sort();
    const list = async (last?: Digest, limit = 10) =>
      (await repositories.referrers(at, subject, { last, limit })).map(({ digest }) => digest);
    assert.deepEqual(await list(), wanted);
    assert.deepEqual(await list(undefined, 2), wanted.slice(0, 2));
    assert.deepEqual(await list(wanted[1]), wanted.slice(2));
  });

  it("prune() removes what no tag leads to", async () => {
    await using opened = await temporaryMetadata();
    const { repositories } = opened.metadata;
    const blobs = Object.fromEntries(
      ["tagged", "child", "signature", "left"].map((name) => [name, digestOfBytes(`${name} blob`)]),
    );
    const child = manifest("child", { references: [blobs["child"]!] });
    const tagged = manifest("tagged", { references: [blobs["tagged"]!, child.digest] });
    const signature = manifest("signature", { references: [blobs["signature"]!], subject: child.digest });
    const left = manifest("left", { references: [blobs["left"]!, blobs["tagged"]!] });
    for (const each of [child, tagged, signature, left]) await repositories.putManifest(at, each);
    await repositories.putBlobs(at, Object.values(blobs));
    const tags = ({ repository }: { repository: string }) => repository === at.repository ? [tagged.digest] : [];
    const later = () => new Date(Date.now() + 1000);
    assert.equal(await repositories.prune(tags, new Date(Date.now() - 1000)), 0, "what has just been used stays");
    assert.equal(await repositories.prune(tags, later()), 2);
    const linked = async () => (await repositories.links()).toSorted();
    const stay = [child, tagged, signature].map(({ digest }) => digest);
    const needed = [blobs["tagged"], blobs["child"], blobs["signature"]] as Digest[];
    assert.deepEqual(await linked(), [...stay, ...needed].sort());
    assert.equal(await repositories.prune(() => [], later()), 6);
    assert.deepEqual(await linked(), []);
  });
});
