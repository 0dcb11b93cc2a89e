import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { btrfs } from "../../snapshotters/btrfs/mod.ts";
import { erofs } from "../../snapshotters/erofs/mod.ts";
import { codeOf } from "../../src/core/errors.ts";
import { mountBtrfs } from "../support/btrfs_mount.ts";
import { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";
import { mounted } from "./mounted.ts";
import { openRoom, type Room } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";
import { describeTree } from "./tree.ts";

const namespace = "default";
const dated = { mtime: 1_000_000_000 };
const lower = tarOf(
  ...["bin", "etc", "etc/sub", "gone", "gone/deep", "old", "old/kept", "remade", "remade/both", "same"].map((path) => ({
    path,
    type: "5",
    ...dated,
  })),
  { path: "bin/tool", content: "tool", mode: 0o4755, ...dated },
  { path: "bin/same", type: "1", link: "bin/tool" },
  { path: "etc/changed", content: "before", ...dated },
  { path: "etc/equal-size", content: "before", ...dated },
  { path: "etc/mode", content: "", ...dated },
  { path: "etc/owner", content: "", ...dated },
  { path: "etc/noted", content: "", pax: { "SCHILY.xattr.user.note": "one" }, ...dated },
  { path: "etc/removed", content: "", ...dated },
  { path: "etc/link", type: "2", link: "changed", ...dated },
  { path: "etc/sub/deep", content: "deep", ...dated },
  { path: "gone/deep/file", content: "", ...dated },
  { path: "old/kept/file", content: "moved", ...dated },
  { path: "remade/first", content: "", ...dated },
  { path: "remade/both/x", content: "x", ...dated },
  { path: "same/file", content: "untouched", ...dated },
  { path: "to-folder", content: "", ...dated },
);
const upper = tarOf({ path: "etc/upper", content: "of the second layer", ...dated }, { path: "etc/.wh.removed" });

/** What a container does. */
const change = `
import os, sys, shutil, socket
os.umask(0); os.chdir(sys.argv[1])
open("etc/changed", "w").write("after, and longer")
open("etc/equal-size", "w").write("behind"); os.utime("etc/equal-size", (10**9, 10**9))
os.chmod("etc/mode", 0o600); os.chown("etc/owner", 12, 34); os.setxattr("etc/noted", "user.note", b"two\\0")
os.remove("etc/upper"); os.remove("etc/link"); os.symlink("elsewhere", "etc/link")
open("etc/sub/new", "w").write("new")
shutil.rmtree("gone")
shutil.copytree("old", "moved", symlinks=True); shutil.rmtree("old")
shutil.rmtree("remade"); os.makedirs("remade/both"); open("remade/second", "w").close()
os.remove("to-folder"); os.mkdir("to-folder"); open("to-folder/in", "w").close()
os.mkdir("new"); os.mkdir("new/empty"); os.chmod("new/empty", 0o1777)
open("new/a", "w").write("linked"); os.link("new/a", "new/b"); os.link("etc/sub/deep", "new/deep")
os.mknod("new/null", 0o20666, os.makedev(1, 3)); os.mkfifo("new/pipe", 0o640)
os.setxattr("new/empty", "trusted.note", b"kept"); os.setxattr("new/a", "user.n", b"x" * 500)
os.makedirs("new/" + "l" * 120); open("new/" + "l" * 120 + "/" + "f" * 90, "w").write("long")
os.symlink("t" * 150, "new/long-link")
open("new/\\u00fc", "w").write("utf-8")
open("new/big", "wb").write(bytes(range(256)) * 5000)
os.utime("new/big", ns=(0, 1234567890123456789)); os.utime("new/b", ns=(0, -1500000000))
os.utime("new/long-link", ns=(0, 987654321), follow_symlinks=False)
# An overlay breaks such links, and goes on counting them.
if sys.argv[2] not in ("overlay", "erofs"): os.link("bin/tool", "new/tool")
for path, _, names in os.walk(".", topdown=False):
    os.utime(path, ns=(0, 10**18 + len(path)))
`;

const expected = `
C /bin
C /etc
C /etc/changed
C /etc/equal-size
C /etc/link
C /etc/mode
C /etc/noted
C /etc/owner
C /etc/sub
C /etc/sub/deep
A /etc/sub/new
D /etc/upper
D /gone
A /moved
A /moved/kept
A /moved/kept/file
A /new
A /new/a
A /new/b
A /new/big
A /new/deep
A /new/empty
A /new/${"l".repeat(120)}
A /new/${"l".repeat(120)}/${"f".repeat(90)}
A /new/long-link
A /new/null
A /new/pipe
A /new/tool
A /new/ü
D /old
C /remade
C /remade/both
D /remade/both/x
D /remade/first
A /remade/second
C /same
C /to-folder
A /to-folder/in
`.trim().split("\n");

/** On what the root folder is, and whose containers are committed there. */
const places: readonly { readonly on: string; readonly sources: readonly string[] }[] = [
  { on: "the machine's disk", sources: ["overlay", "erofs", "native"] },
  { on: "btrfs", sources: ["btrfs", "overlay"] },
];

for (const { on, sources } of places) {
  describe(`diff and commit on ${on}`, () => {
    let folder = "";
    let mount: ReturnType<typeof mountBtrfs> | undefined;
    let room: Room;

    before(async () => {
      if (on === "btrfs") mount = mountBtrfs();
      folder = mkdtempSync(join(mount?.path ?? tmpdir(), "mayfly-commit-"));
      room = await openRoom(join(folder, "root"), undefined, [mount === undefined ? erofs : btrfs]);
      const layout = new LayoutFolder(join(folder, "layout"));
      const config = { Cmd: ["/bin/tool"], Env: ["PATH=/bin", "A=1"], Labels: { of: "base" } };
      await room.images.import(
        namespace,
        layout.name({ "base:1": layout.image([lower, upper], { config, zstd: false }) }),
      );
    });
    after(async () => {
      await room[Symbol.asyncDispose]();
      if (mount === undefined) rmSync(folder, { recursive: true, force: true });
      mount?.[Symbol.dispose]();
    });

    const base = async () => (await room.images.get(namespace, "base:1")).target;
    const prepare = async (snapshotter: string, key: string, name = "base:1") => {
      const { manifestDigest } = await room.images.config((await room.images.get(namespace, name)).target);
      const chain = await room.images.unpack(manifestDigest, snapshotter);
      return await room.snapshotters.get(snapshotter)!.prepare(key, chain);
    };
    const remove = (snapshotter: string, key: string) => room.snapshotters.get(snapshotter)!.remove(key);
    const changed = async (snapshotter: string, key: string) =>
      await mounted(await prepare(snapshotter, key), (path) => {
        execFileSync("python3", ["-c", change, path, snapshotter]);
        return describeTree(room.kernel, path);
      });
    const document = async (name: string) => {
      const { manifest } = await room.images.config((await room.images.get(namespace, name)).target);
      const config = await room.content.bytes(manifest.config.digest, 1 << 20);
      return { manifest, config: JSON.parse(new TextDecoder().decode(config)) };
    };

    for (const snapshotter of sources) {
      it(`diff() lists what a container of ${snapshotter} added, changed and deleted`, async () => {
        await changed(snapshotter, "listed");
        const changes = (await room.images.diff(snapshotter, "listed")).map(({ kind, path }) => `${kind} ${path}`);
        // An overlay has a copy of a file that was only linked; else it is as it was.
        const other = snapshotter === "overlay" || snapshotter === "erofs" ? "A /new/tool" : "C /etc/sub/deep";
        assert.deepEqual(changes, expected.filter((line) => line !== other));
        await remove(snapshotter, "listed");
      });

      it(`diff() of an untouched container of ${snapshotter} is empty`, async () => {
        await prepare(snapshotter, "untouched");
        assert.deepEqual(await room.images.diff(snapshotter, "untouched"), []);
        const image = await room.images.commit(namespace, {
          name: "equal:1",
          base: await base(),
          snapshotter,
          key: "untouched",
        });
        assert.equal(image.name, "docker.io/library/equal:1");
        const { manifest, config } = await document("equal:1");
        assert.equal(manifest.layers.length, 2);
        assert.deepEqual(config.history.map(({ empty_layer }: { empty_layer: boolean }) => empty_layer), [true]);
        await remove(snapshotter, "untouched");
      });

      for (const compression of ["gzip", "none"] as const) {
        it(`commit() of ${snapshotter} (${compression}) makes a layer that is the same tree anywhere`, async () => {
          // The root itself has the time of its own making.
          const tree = await changed(snapshotter, "work");
          const name = `made.test/${snapshotter}:${compression}`;
          const options = { base: await base(), snapshotter, key: "work", compression };
          const image = await room.images.commit(namespace, { ...options, name, createdAt: new Date(0) });
          const again = await room.images.commit(namespace, { ...options, name, createdAt: new Date(0) });
          assert.equal(again.target.digest, image.target.digest);

          for (const into of room.snapshotters.keys()) {
            await prepare(into, "check", name);
            await mounted(await room.snapshotters.get(into)!.mounts("check"), (path) => {
              assert.deepEqual(describeTree(room.kernel, path).slice(1), tree.slice(1), `unpacked into ${into}`);
            });
            await remove(into, "check");
          }
          const out = join(folder, `${snapshotter}-${compression}`);
          await room.images.export(namespace, [name], out);
          execFileSync("umoci", ["unpack", "--image", `${out}:${compression}`, `${out}-umoci`]);
          const root = `${out}-umoci/rootfs`;
          assert.deepEqual(describeTree(room.kernel, root).slice(1), tree.slice(1), "unpacked by umoci");
          await remove(snapshotter, "work");
        });
      }
    }

    it("commit() writes author, message and changed configuration", async () => {
      await mounted(await prepare("overlay", "told"), (path) => writeFileSync(join(path, "new"), "x"));
      await room.images.commit(namespace, {
        name: "told:2",
        base: await base(),
        snapshotter: "overlay",
        key: "told",
        author: "Ada <ada@example.org>",
        message: "why",
        createdBy: "sh -c x",
        config: { Cmd: ["sleep", "1"] },
        changes: ['CMD ["a", "b c"]', 'ENV A=2 B="3 4"', "LABEL x=y", "EXPOSE 80 53/udp", "USER 7", "WORKDIR srv"],
      });
      const { manifest, config } = await document("told:2");
      assert.equal(manifest.layers.length, 3);
      assert.equal(manifest.mediaType, "application/vnd.oci.image.manifest.v1+json");
      assert.equal(config.author, "Ada <ada@example.org>");
      assert.deepEqual(config.config, {
        Cmd: ["a", "b c"],
        Env: ["PATH=/bin", "A=2", "B=3 4"],
        Labels: { of: "base", x: "y" },
        ExposedPorts: { "80/tcp": {}, "53/udp": {} },
        User: "7",
        WorkingDir: "/srv",
      });
      const [step] = config.history;
      assert.deepEqual([step.author, step.comment, step.created_by], ["Ada <ada@example.org>", "why", "sh -c x"]);
      const archive = execFileSync("gzip", ["-dc"], {
        input: await room.content.bytes(manifest.layers[2]!.digest, 1 << 20),
      });
      assert.equal(config.rootfs.diff_ids[2], digestOfBytes(archive));
      assert.deepEqual(execFileSync("tar", ["-t"], { input: archive, encoding: "utf8" }).trim().split("\n"), [
        "new",
      ]);
      await remove("overlay", "told");
    });

    it("what cannot be committed is refused, and leaves nothing", async () => {
      await prepare("overlay", "refused");
      const options = { name: "refused:1", base: await base(), snapshotter: "overlay", key: "refused" };
      const chain = (await room.images.config(await base())).chainId!;
      await room.snapshotters.get("overlay")!.view("looked at", chain);
      const cases = [
        [{ ...options, changes: ["RUN x"] }, "invalid_argument"],
        [{ ...options, changes: ["ENV"] }, "invalid_argument"],
        [{ ...options, changes: ["EXPOSE many"] }, "invalid_argument"],
        [{ ...options, changes: ["LABEL 'a=b"] }, "invalid_argument"],
        [{ ...options, name: "UPPER" }, "invalid_argument"],
        [{ ...options, name: `x@sha256:${"0".repeat(64)}` }, "invalid_argument"],
        [{ ...options, key: "nowhere" }, "not_found"],
        [{ ...options, key: "looked at" }, "failed_precondition"],
        [{ ...options, snapshotter: "none" }, "invalid_argument"],
        [{ ...options, base: `sha256:${"0".repeat(64)}` as const }, "not_found"],
        [{ ...options, signal: AbortSignal.abort() }, "aborted"],
      ] as const;
      for (const [given, code] of cases) {
        await assert.rejects(room.images.commit(namespace, given), (error) => {
          if (code !== "aborted") assert.equal(codeOf(error), code, String(error));
          return true;
        }, JSON.stringify(given));
      }
      await assert.rejects(room.images.get(namespace, "refused:1"), (error) => codeOf(error) === "not_found");
      assert.deepEqual(readdirSync(join(room.root, "content/ingest")), []);
      assert.deepEqual(await room.metadata.leases.list(), []);
      for (const key of ["refused", "looked at"]) await remove("overlay", key);
    });
  });
}
