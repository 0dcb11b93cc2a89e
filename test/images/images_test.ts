import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { codeOf, type ErrorCode, messageOf } from "../../src/core/errors.ts";
import type { Progress } from "../../src/images/progress.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";
import { openRoom, type Room } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";
import { describeTree } from "./tree.ts";
import { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";

const namespace = "default";
const first = tarOf(
  { path: "bin", type: "5" },
  { path: "bin/tool", content: "tool".repeat(5000), mode: 0o4755, mtime: 1000 },
  { path: "etc/old", content: "old" },
);
const second = tarOf({ path: "etc/.wh.old" }, { path: "etc/new", content: "new" }, {
  path: "bin/same",
  type: "1",
  link: "bin/tool",
});
const third = tarOf({ path: "top", content: "3" });

describe("images", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-images-"));
  let room: Room;
  let registry: TestRegistry;
  let count = 0;

  before(async () => {
    room = await openRoom(join(folder, "root"));
    registry = await startRegistry();
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    await room[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const path = (name: string) => join(folder, `${count++}-${name}`);
  const layout = () => new LayoutFolder(path("layout"));
  const rejects = (promise: Promise<unknown>, code: ErrorCode, text: RegExp) =>
    assert.rejects(promise, (error) => {
      assert.equal(codeOf(error), code, String(error));
      assert.match(messageOf(error), text);
      return true;
    });
  const digestOf = async (name: string) =>
    (await room.images.config((await room.images.get(namespace, name)).target)).manifestDigest;
  /** Snapshots and folders, to see that nothing half-made is left. */
  const state = async () => ({
    snapshots: (await Promise.all([...room.snapshotters.values()].map((one) => one.walk()))).flat().length,
    folders: ["overlay", "native"].flatMap((id) => readdirSync(join(room.root, "snapshots", id))).length,
    images: (await room.images.list(namespace)).length,
    leases: (await room.metadata.leases.list()).length,
  });

  describe("import()", () => {
    it("takes an OCI layout by folder and by archive, and gives its names", async () => {
      const made = layout();
      const where = made.name({ "a:1": made.image([first]), "registry.test/b:2": made.image([first, second]) });
      const archive = path("layout.tar");
      execFileSync("tar", ["-C", where, "-cf", archive, "."]);
      for (const source of [where, archive]) {
        const images = await room.images.import(namespace, source);
        assert.deepEqual(images.map(({ name }) => name), ["docker.io/library/a:1", "registry.test/b:2"]);
      }
      await rejects(room.images.import(namespace, where, { name: "one" }), "invalid_argument", /2 images: .*a:1/);
    });

    it("takes what skopeo writes for docker load, and skopeo reads what export() writes", async () => {
      const made = layout();
      const where = made.name({ "x:1": made.image([first, second, third], { zstd: false }) });
      const docker = path("docker.tar");
      execFileSync("skopeo", ["copy", "-q", `oci:${where}:x:1`, `docker-archive:${docker}:saved.test/x:2`]);
      const [image] = await room.images.import(namespace, docker);
      assert.equal(image?.name, "saved.test/x:2");
      const { layers, config } = await room.images.config(await digestOf("saved.test/x:2"));
      assert.deepEqual(layers.map(({ diffId }) => diffId), [first, second, third].map(digestOfBytes));
      assert.equal(config.architecture, "amd64");
      for (const [transport, target] of [["oci", path("out")], ["oci-archive", path("out.tar")]] as const) {
        await room.images.export(namespace, ["saved.test/x:2"], target);
        const told = JSON.parse(
          execFileSync("skopeo", ["inspect", "--raw", `${transport}:${target}:2`], { encoding: "utf8" }),
        );
        assert.equal(told.layers.length, 3);
        execFileSync("skopeo", ["copy", "-q", `${transport}:${target}:2`, `dir:${path("dir")}`]);
        const [again] = await room.images.import(namespace, target);
        assert.equal(again?.name, "saved.test/x:2");
        assert.equal(again?.target.digest, image?.target.digest);
        await rejects(room.images.export(namespace, ["saved.test/x:2"], target), "already_exists", /export/);
      }
    });

    it("chooses this machine's platform where one name has several", async () => {
      const made = layout();
      const here = made.image([first]);
      const there = made.image([second], { architecture: "s390x" });
      const [image] = await room.images.import(namespace, made.name({ "multi:1": made.index([there, here]) }));
      assert.equal((await room.images.config(image!.target)).manifestDigest, here.digest);
      const out = path("multi");
      await room.images.export(namespace, ["multi:1"], out);
      assert.equal(readdirSync(join(out, "blobs/sha256")).length, 7);
    });

    const broken: readonly [string, (made: LayoutFolder) => string, ErrorCode, RegExp][] = [
      ["without a name", (made) => made.name({ "": made.image([first]) }), "invalid_argument", /--name/],
      ["named by a tag alone", (made) => made.name({ latest: made.image([first]) }), "invalid_argument", /--name/],
      [
        "with a malformed name",
        (made) => made.name({ "Bad:Name:1": made.image([first]) }),
        "invalid_argument",
        /lower case|parse/,
      ],
      ["without images", (made) => made.name({}), "invalid_argument", /names no image/],
      ["that is no layout", (made) => made.path, "invalid_argument", /neither an index.json/],
      [
        "with a manifest that is none",
        (made) => made.name({ "n:1": made.put(mediaTypes.manifest, "[]") }),
        "invalid_argument",
        /no JSON object/,
      ],
      [
        "with a manifest that is no JSON",
        (made) => made.name({ "n:1": made.put(mediaTypes.manifest, "{") }),
        "invalid_argument",
        /no JSON/,
      ],
      [
        "with a manifest of schema 1",
        (made) => made.name({ "n:1": made.put(mediaTypes.manifest, { schemaVersion: 1 }) }),
        "unimplemented",
        /schema 1/,
      ],
      [
        "with a chart for a layer",
        (made) => {
          const image = made.image([first]);
          const manifest = {
            schemaVersion: 2,
            config: image,
            layers: [made.put("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "x")],
          };
          return made.name({ "n:1": made.put(mediaTypes.manifest, manifest) });
        },
        "unimplemented",
        /helm/,
      ],
      [
        "that lacks a layer",
        (made) => {
          const image = made.name({ "n:1": made.image([tarOf({ path: "unique", content: "1" })]) });
          rmSync(join(made.path, "blobs/sha256", made.layer(tarOf({ path: "unique", content: "1" })).digest.slice(7)));
          return image;
        },
        "not_found",
        /not complete/,
      ],
      [
        "with a layer cut short",
        (made) => {
          const image = made.name({ "n:1": made.image([tarOf({ path: "unique", content: "2" })]) });
          truncateSync(
            join(made.path, "blobs/sha256", made.layer(tarOf({ path: "unique", content: "2" })).digest.slice(7)),
            20,
          );
          return image;
        },
        "data_loss",
        /20 bytes/,
      ],
      [
        "with other bytes than the digest says",
        (made) => {
          const image = made.name({ "n:1": made.image([tarOf({ path: "unique", content: "3" })]) });
          const { digest, size } = made.layer(tarOf({ path: "unique", content: "3" }));
          writeFileSync(join(made.path, "blobs/sha256", digest.slice(7)), new Uint8Array(size));
          return image;
        },
        "data_loss",
        /not what it names/,
      ],
      [
        "that is compressed as a whole",
        (made) => {
          execFileSync("sh", ["-c", `echo x | gzip > ${made.path}.tar.gz`]);
          return `${made.path}.tar.gz`;
        },
        "invalid_argument",
        /gzip -d/,
      ],
      ["that is not there", (made) => `${made.path}/nowhere`, "not_found", /no such file/],
      ["that is a device", () => "/dev/null", "invalid_argument", /neither a file nor a folder/],
    ];
    for (const [what, make, code, text] of broken) {
      it(`refuses a layout ${what}`, async () => {
        const source = make(layout());
        const before = await state();
        await rejects(room.images.import(namespace, source), code, text);
        assert.deepEqual(await state(), before);
      });
    }
  });

  describe("unpack()", () => {
    it("shares one unpack among all who ask, and gives the same on every snapshotter", async () => {
      const made = layout();
      await room.images.import(namespace, made.name({ "shared:1": made.image([first, second, third]) }));
      const digest = await digestOf("shared:1");
      const trees: string[][] = [];
      for (const id of ["overlay", "native"]) {
        const seen: Progress[] = [];
        const onProgress = (progress: Progress) => seen.push(progress);
        const before = await state();
        const chains = await Promise.all(
          Array.from({ length: 8 }, () => room.images.unpack(digest, id, { onProgress })),
        );
        assert.equal(new Set(chains).size, 1);
        assert.deepEqual(seen.filter(({ phase }) => phase === "done").length, 3);
        assert.equal((await state()).snapshots, before.snapshots + 3);
        const snapshotter = room.snapshotters.get(id)!;
        const [mount] = await snapshotter.view("look", chains[0]!);
        const target = path("mnt");
        mkdirSync(target);
        const type = mount!.type === "bind" ? [] : ["-t", mount!.type];
        execFileSync("mount", [...type, "-o", mount!.options.join(","), mount!.source, target]);
        try {
          assert.deepEqual(readdirSync(join(target, "etc")), ["new"]);
          trees.push(describeTree(room.kernel, target, { times: false }));
        } finally {
          execFileSync("umount", [target]);
          await snapshotter.remove("look");
        }
      }
      assert.deepEqual(trees[0], trees[1]);
      assert.ok(trees[0]?.some((line) => line.startsWith("bin/tool 104755") && line.includes("same as bin/same")));
    });

    const failing: readonly [string, (made: LayoutFolder) => ReturnType<LayoutFolder["image"]>, ErrorCode, RegExp][] = [
      [
        "of another architecture",
        (made) => made.image([first], { architecture: "riscv64" }),
        "failed_precondition",
        /linux\/riscv64/,
      ],
      ["of another system", (made) => made.image([first], { os: "windows" }), "failed_precondition", /windows\/amd64/],
      [
        "with fewer diffIDs than layers",
        (made) => made.image([first, third], { diffIds: [digestOfBytes(first)] }),
        "invalid_argument",
        /2 layers.*1/,
      ],
      ["without layers", (made) => made.image([]), "failed_precondition", /no layers/],
      [
        "with a wrong diffID",
        (made) => made.image([third, first], { diffIds: [digestOfBytes("x"), digestOfBytes(first)] }),
        "data_loss",
        /layer sha256:.*configuration says/,
      ],
      [
        "with a bad second layer",
        (made) => made.image([tarOf({ path: "ok" }), tarOf({ path: "../evil" })]),
        "invalid_argument",
        /"\.\.\/evil"/,
      ],
      [
        "that is an index of nothing for this machine",
        (made) => made.index([made.image([first], { architecture: "s390x" })]),
        "not_found",
        /linux\/s390x/,
      ],
    ];
    for (const [what, make, code, text] of failing) {
      it(`refuses an image ${what}, and leaves nothing half-made`, async () => {
        const made = layout();
        const [image] = await room.images.import(namespace, made.name({ "bad:1": make(made) }));
        for (const id of ["overlay", "native"]) {
          const before = (await state()).folders;
          const unpack = async () =>
            await room.images.unpack((await room.images.config(image!.target)).manifestDigest, id);
          await rejects(unpack(), code, text);
          const { snapshots: _, ...now } = await state();
          assert.ok(now.folders <= before + 1);
          assert.equal(now.leases, 0);
          const infos = await room.snapshotters.get(id)!.walk();
          assert.deepEqual(infos.filter(({ kind }) => kind !== "committed"), []);
        }
        await room.images.remove(namespace, "bad:1");
      });
    }

    it("ends when its signal says so, and the next one goes through", async () => {
      const made = layout();
      const archive = tarOf(...Array.from({ length: 300 }, (_, i) => ({ path: `f${i}`, content: "x" })));
      await room.images.import(namespace, made.name({ "slow:1": made.image([archive]) }));
      const digest = await digestOf("slow:1");
      const before = await state();
      const stop = new AbortController();
      const onProgress = () => stop.abort(new Error("enough"));
      await assert.rejects(room.images.unpack(digest, "overlay", { signal: stop.signal, onProgress }), /enough/);
      assert.deepEqual(await state(), before);
      await room.images.unpack(digest, "overlay");
    });

    it("recover() removes what a crash left of one", async () => {
      const overlay = room.snapshotters.get("overlay")!;
      await overlay.prepare("unpack-crashed-sha256:x");
      await overlay.prepare("somebody's own");
      assert.deepEqual(await room.images.recover(), ["unpack-crashed-sha256:x"]);
      await overlay.remove("somebody's own");
    });
  });

  describe("pull()", () => {
    it("brings an image once, unpacks it on the way, and tells its progress", async () => {
      const made = layout();
      // The second layer links to a file of the first.
      const archives = [
        tarOf({ path: "bin/tool", content: "p".repeat(3_000_000) }, { path: "etc/old" }),
        second,
        third,
      ];
      await registry.push(`oci:${made.name({ "t:1": made.image(archives) })}:t:1`, "t/t:1");
      const seen: Progress[] = [];
      const name = `${registry.host}/t/t:1`;
      const onProgress = (progress: Progress) => void seen.push(progress);
      const pulls = [1, 2].map(() => room.images.pull(namespace, name, { snapshotter: "overlay", onProgress }));
      const [image] = await Promise.all(pulls);
      assert.equal(image?.name, name);
      for (const phase of ["download", "unpack", "done"]) assert.ok(seen.some((step) => step.phase === phase), phase);
      assert.ok(seen.every(({ bytes, total }) => bytes <= total));
      seen.length = 0;
      await room.images.pull(namespace, name, { snapshotter: "overlay", onProgress });
      assert.deepEqual(new Set(seen.map(({ phase }) => phase)), new Set(["exists"]));
      assert.equal((await room.metadata.leases.list()).length, 0);
    });

    it("takes the platform that is asked for, and names those that are there", async () => {
      const made = layout();
      const index = made.index([
        made.image([tarOf({ path: "amd64" })]),
        made.image([tarOf({ path: "arm64" })], { architecture: "arm64" }),
      ]);
      await registry.push(`oci:${made.name({ "p:1": index })}:p:1`, "t/p:1", ["--all"]);
      const name = `${registry.host}/t/p:1`;
      const arm = { os: "linux", architecture: "arm64" };
      const image = await room.images.pull(namespace, name, { platform: arm });
      assert.equal((await room.images.config(image.target, arm)).config.architecture, "arm64");
      await rejects(room.images.config(image.target), "not_found", /sha256/);
      const s390x = { os: "linux", architecture: "s390x" };
      await rejects(room.images.pull(namespace, name, { platform: s390x }), "not_found", /linux\/amd64, linux\/arm64/);
      // One platform of it is here: the export has that one, and is whole.
      const out = path("one-platform");
      await room.images.export(namespace, [name], out);
      const [manifest] = JSON.parse(readFileSync(join(out, "index.json"), "utf8")).manifests;
      assert.equal(manifest.platform.architecture, "arm64");
    });

    it("push() brings whole indexes, and what other repositories have need not be sent", async () => {
      const made = layout();
      const child = made.index([
        made.image([tarOf({ path: "pushed" }), tarOf({ path: "too" })]),
        made.image([tarOf({ path: "pushed-arm64" })], { architecture: "arm64" }),
      ]);
      const where = made.name({ "push:1": made.index([child]) });
      const [image] = await room.images.import(namespace, where);
      const to = `${registry.host}/pushed/one:1`;
      const seen: Progress[] = [];
      const onProgress = (progress: Progress) => void seen.push(progress);
      const pushed = await room.images.push(namespace, "push:1", { to, onProgress });
      assert.deepEqual(pushed, { name: to, target: image?.target });
      assert.deepEqual(new Set(seen.map(({ phase }) => phase)), new Set(["upload", "done"]));
      assert.equal((await room.images.pull(namespace, to)).target.digest, image?.target.digest);

      seen.length = 0;
      await room.images.push(namespace, to, { to: `${registry.host}/pushed/two:1`, onProgress });
      assert.deepEqual(new Set(seen.map(({ phase }) => phase)), new Set(["mounted"]));
      seen.length = 0;
      await room.images.push(namespace, to, { to: `${registry.host}/pushed/two:2`, onProgress });
      assert.deepEqual(new Set(seen.map(({ phase }) => phase)), new Set(["exists"]));
      const raw = ["inspect", "--raw", "--tls-verify=false", `docker://${registry.host}/pushed/two:2`];
      assert.equal(digestOfBytes(execFileSync("skopeo", raw)), image?.target.digest);
      assert.equal((await room.metadata.leases.list()).length, 0);
    });

    it("brings all platforms where that is asked, so that it can be pushed whole", async () => {
      const made = layout();
      const index = made.index(
        ["amd64", "arm64"].map((architecture) =>
          made.image([tarOf({ path: `all-${architecture}` })], { architecture })
        ),
      );
      await registry.push(`oci:${made.name({ "all:1": index })}:all:1`, "t/all:1", ["--all"]);
      const name = `${registry.host}/t/all:1`;
      const image = await room.images.pull(namespace, name, { allPlatforms: true, snapshotter: "overlay" });
      const arm = await room.images.config(image.target, { os: "linux", architecture: "arm64" });
      assert.equal((await room.content.info(arm.layers[0]!.descriptor.digest)).size > 0, true);
      const to = `${registry.host}/t/whole:1`;
      assert.equal((await room.images.push(namespace, name, { to })).target.digest, image.target.digest);
    });

    it("brings the files of an artifact where that is asked, into no snapshotter", async () => {
      const made = layout();
      const title = (title: string) => ({ annotations: { "org.opencontainers.image.title": title } });
      const files = made.artifact([
        { ...made.put(mediaTypes.layer, "one"), ...title("a.txt") },
        { ...made.put("text/plain", "two"), ...title("b/c.txt") },
      ]);
      const bad = made.artifact([{ ...made.put("text/plain", "bad"), ...title("a/../../b") }]);
      const where = made.name({ "f:1": files, "bad:1": bad });
      await registry.push(`oci:${where}:f:1`, "t/f:1");
      await registry.push(`oci:${where}:bad:1`, "t/bad:1");
      const name = `${registry.host}/t/f:1`;
      await rejects(room.images.pull(namespace, name), "invalid_argument", /it is an artifact/);
      const { target } = await room.images.pull(namespace, name, { artifacts: true, snapshotter: "overlay" });
      assert.equal(target.digest, files.digest);
      const again = { artifacts: true, allPlatforms: true };
      await rejects(room.images.pull(namespace, `${registry.host}/t/bad:1`, again), "invalid_argument", /"a\/\.\.\//);
      const digest = await room.images.manifest(target);
      const [opened, shared] = [await room.images.openArtifact(digest), await room.images.openArtifact(digest)];
      assert.ok(opened !== undefined && opened.folder === shared?.folder);
      opened[Symbol.dispose]();
      assert.equal(readFileSync(join(opened.folder, "b/c.txt"), "utf8"), "two");
      shared[Symbol.dispose]();
      await until(() => readdirSync(join(room.root, "artifacts")).length === 0);
      assert.equal((await room.images.push(namespace, name, { to: `${registry.host}/t/g:1` })).target.digest, digest);
    });

    it("push() refuses an index of which only some platforms are here, and brings the one that is", async () => {
      const made = layout();
      const images = ["amd64", "arm64", "s390x"].map((architecture) =>
        made.image([tarOf({ path: `of-${architecture}` })], { architecture })
      );
      await registry.push(`oci:${made.name({ "i:1": made.index(images) })}:i:1`, "t/i:1", ["--all"]);
      const name = `${registry.host}/t/i:1`;
      const to = `${registry.host}/t/part:1`;
      await room.images.pull(namespace, name);
      assert.equal((await room.images.push(namespace, name, { to })).target.digest, images[0]?.digest);
      await room.images.pull(namespace, name, { platform: { os: "linux", architecture: "arm64" } });
      await rejects(room.images.push(namespace, name, { to }), "failed_precondition", /2 of its platforms are here/);
      const platform = { os: "linux", architecture: "arm64" };
      assert.equal((await room.images.push(namespace, name, { to, platform })).target.digest, images[1]?.digest);
      await rejects(room.images.push(namespace, "none:1"), "not_found", /none:1/);
      await rejects(
        room.images.push(namespace, name, { to: `${registry.host}/t/part@sha256:${"0".repeat(64)}` }),
        "invalid_argument",
        /it has the digest/,
      );
    });

    it("tag() gives one more name", async () => {
      const made = layout();
      const [image] = await room.images.import(namespace, made.name({ "tagged:1": made.image([third]) }));
      const tagged = await room.images.tag(namespace, "tagged:1", "elsewhere.test/tagged:2");
      assert.deepEqual([tagged.name, tagged.target.digest], ["elsewhere.test/tagged:2", image?.target.digest]);
      await rejects(room.images.tag(namespace, "none:1", "x:1"), "not_found", /none/);
      await rejects(
        room.images.tag(namespace, "tagged:1", `x@sha256:${"0".repeat(64)}`),
        "invalid_argument",
        /not a digest/,
      );
    });

    it("keeps nothing of an image whose blob the registry has wrong", async () => {
      const made = layout();
      const archive = tarOf({ path: "corrupt", content: "c" });
      await registry.push(`oci:${made.name({ "c:1": made.image([archive]) })}:c:1`, "t/c:1");
      const { digest, size } = made.layer(archive);
      writeFileSync(registry.blobPath(digest), new Uint8Array(size));
      const before = await state();
      const pull = room.images.pull(namespace, `${registry.host}/t/c:1`, { snapshotter: "overlay" });
      await rejects(pull, "data_loss", /t\/c:1": what came for blob sha256:\S+ has the digest sha256:/);
      assert.deepEqual(await state(), before);
      await rejects(room.images.get(namespace, `${registry.host}/t/c:1`), "not_found", /pull or import/);
    });

    it("says what is missing", async () => {
      await rejects(room.images.pull(namespace, `${registry.host}/t/nowhere:1`), "not_found", /nowhere/);
      await rejects(room.images.pull(namespace, "Not A Name"), "invalid_argument", /reference/);
      const asked = { snapshotter: "zfs" };
      await rejects(
        room.images.pull(namespace, `${registry.host}/t/t:1`, asked),
        "invalid_argument",
        /overlay, native/,
      );
    });
  });

  it("remove() takes the name away", async () => {
    const made = layout();
    await room.images.import(namespace, made.name({ "r:1": made.image([first]) }));
    await room.images.remove(namespace, "r:1");
    await rejects(room.images.remove(namespace, "r:1"), "not_found", /r:1/);
    assert.equal(existsSync(join(room.root, "content/blobs/sha256", digestOfBytes("none").slice(7))), false);
  });
});
