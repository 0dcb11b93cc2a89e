import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { codeOf, type ErrorCode, messageOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Files } from "../../src/linux/files.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { Xattrs } from "../../src/linux/xattr.ts";
import { blocks, joined, type Member, tarOf } from "./tar_bytes.ts";
import { describeTree } from "./tree.ts";
import { unmountImages, unpackBytes as unpackInto, type UnpackBytesOptions } from "./unpack_bytes.ts";

for (const image of [false, true]) {
  describe(`unpacking a layer into ${image ? "an EROFS image" : "a folder"}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-layer-"));
    let kernel: Kernel;
    let count = 0;

    before(async () => {
      kernel = new Kernel(await currentHost());
    });
    after(() => {
      unmountImages(folder);
      rmSync(folder, { recursive: true, force: true });
    });

    const fresh = () => {
      const path = join(folder, `${count++}`, "root");
      mkdirSync(path, { recursive: true });
      return path;
    };
    const unpackBytes: typeof unpackInto = (kernel, path, archive, options) =>
      unpackInto(kernel, path, archive, { ...options, image });
    const wholes = image ? [false] : [false, true];
    const unpack = async (
      members: readonly Member[],
      options: UnpackBytesOptions & { readonly path?: string } = {},
    ) => {
      const path = options.path ?? fresh();
      await unpackBytes(kernel, path, tarOf(...members), options);
      return path;
    };
    const refuses = (promise: Promise<unknown>, code: ErrorCode, text: RegExp) =>
      assert.rejects(promise, (error) => {
        assert.equal(codeOf(error), code, String(error));
        assert.match(messageOf(error), text);
        return true;
      });
    const attribute = (path: string, name: string) => {
      using files = new Files(kernel);
      using xattrs = new Xattrs(kernel);
      const fd = files.openFolder(path);
      try {
        return xattrs.get(fd, "", name);
      } finally {
        files.close(fd);
      }
    };

    it("gives the same tree as GNU tar, in every form of tar and compression", async () => {
      const source = fresh();
      const python = `
import os, socket
os.umask(0)
os.chdir(${JSON.stringify(source)})
os.makedirs("usr/share/deep/er"); os.mkdir("var"); os.mkdir("tmp"); os.chmod("tmp", 0o1777)
os.mkdir("mail"); os.chown("mail", 0, 8); os.chmod("mail", 0o2775)
open("mail/box", "w").write("m"); os.chown("mail/box", 1, 0)
open("usr/su", "w").write("x" * 70000); os.chown("usr/su", 5, 6); os.chmod("usr/su", 0o4755)
open("usr/sg", "w").write(""); os.chmod("usr/sg", 0o2755)
open("usr/secret", "w").write("s"); os.chmod("usr/secret", 0)
os.link("usr/su", "usr/share/same"); os.symlink("../../nowhere", "usr/share/dangling"); os.symlink("su", "usr/link")
os.mknod("null", 0o20666, os.makedev(1, 3)); os.mknod("disk", 0o60660, os.makedev(259, 300)); os.mkfifo("fifo", 0o600)
open("usr/share/" + "n" * 150, "w").write("long"); os.symlink("t" * 180, "usr/share/longlink")
os.makedirs("d" * 90 + "/" + "e" * 90); open("d" * 90 + "/" + "e" * 90 + "/file", "w").write("prefix")
open("ümlaut", "w").write("u")
os.lchown("usr/link", 7, 2**31); os.chown("usr/sg", 3000000, 4000000)
os.setxattr("usr/sg", "user.note", b"a=b\\n\\0c"); os.setxattr("var", "trusted.t", b"1")
os.setxattr("usr/sg", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
os.setxattr("usr/share", "user.empty", b"")
n = 0
for base, dirs, files in os.walk(".", topdown=False):
    for name in dirs + files:
        n += 1
        os.utime(os.path.join(base, name), ns=(0, 1000000000 * (n * 1000003 - 3) + 123456789), follow_symlinks=False)
os.utime("usr/secret", ns=(0, -1500000000))
os.utime(".", ns=(0, 77))
`;
      execFileSync("python3", ["-c", python]);
      const wanted = describeTree(kernel, source);
      for (const form of [["pax", "--xattrs", "--xattrs-include=*"], ["gnu"], ["ustar"]]) {
        const [format, ...flags] = form;
        // ustar has no numbers past 2097151, no negative times, no names past 100 and 155.
        const paths = format === "ustar" ? ["tmp", "mail", "null", "fifo", "usr/su", "usr/share/same"] : ["."];
        const archive = execFileSync(
          "tar",
          ["-C", source, "-c", `--format=${format}`, ...flags, "--sort=name", ...paths],
          { maxBuffer: 1 << 26 },
        );
        const reference = fresh();
        const xattrs = format === "pax" ? ["--xattrs", "--xattrs-include=*"] : [];
        execFileSync("tar", ["-C", reference, "-xp", "--same-owner", "--numeric-owner", ...xattrs], {
          input: archive,
          stdio: ["pipe", "ignore", "ignore"],
        });
        if (format === "pax") assert.deepEqual(describeTree(kernel, reference), wanted);
        for (
          const [name, blob] of [
            ["plain", archive],
            ["gzip", gzipSync(archive)],
            ["zstd", zstdCompressSync(archive)],
            ["two gzip members", joined([gzipSync(archive.subarray(0, 999)), gzipSync(archive.subarray(999))])],
            [
              "zstd frames",
              joined([
                zstdCompressSync(archive.subarray(0, 7777)),
                new Uint8Array([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]),
                zstdCompressSync(archive.subarray(7777)),
              ]),
            ],
          ] as const
        ) {
          for (const whole of wholes) {
            const path = fresh();
            await unpackBytes(kernel, path, archive, { blob, whole, pieceBytes: name === "plain" ? 1111 : 100_000 });
            const times = { times: format === "pax" };
            const [got, want] = [describeTree(kernel, path, times), describeTree(kernel, reference, times)];
            // The root itself is in the archive only where all of it was packed.
            assert.deepEqual(
              got.slice(format === "ustar" ? 1 : 0),
              want.slice(format === "ustar" ? 1 : 0),
              `${format} ${name}`,
            );
          }
        }
      }
    });

    it("keeps names that are no UTF-8", async () => {
      const path = await unpack([{ path: new Uint8Array([0x61, 0xff, 0xfe]), content: "x" }]);
      using files = new Files(kernel);
      const fd = files.openFolder(path);
      assert.deepEqual(files.list(fd)?.map(({ name }) => name), ["a\xff\xfe"]);
      files.close(fd);
    });

    describe("an entry that climbs", () => {
      const outside: readonly [string, readonly Member[], RegExp][] = [
        ["by ..", [{ path: "../evil" }], /"\.\.\/evil".*climbs out/],
        ["by .. in the middle", [{ path: "a/../../evil" }], /climbs out/],
        ["by .. at the end", [{ path: "a/../..", type: "5" }], /climbs out/],
        ["by a hard link with ..", [{ path: "a", type: "1", link: "../../etc/passwd" }], /climbs out/],
        ["to be the root", [{ path: "./", type: "2", link: "/" }], /root/],
        ["by a hard link to nothing", [{ path: "a", type: "1", link: "/etc/passwd" }], /hard link "a".*target/],
        ["by a hard link through a symbolic link", [
          { path: "l", type: "2", link: "/etc" },
          { path: "a", type: "1", link: "l/passwd" },
        ], /hard link "a"/],
        ["by a whiteout of ..", [{ path: "a/.wh..." }], /whiteout/],
        ["by a whiteout of .", [{ path: ".wh.." }], /whiteout/],
        ["below a file", [{ path: "f", content: "x" }, { path: "f/g" }], /no directory/],
        ["round in circles", [
          { path: "a", type: "2", link: "b" },
          { path: "b", type: "2", link: "a" },
          { path: "a/f" },
        ], /symbolic links/],
      ];
      for (const [how, members, text] of outside) {
        for (const whole of wholes) {
          it(`${how} is refused${whole ? " in a whole tree" : ""}`, async () => {
            const path = fresh();
            await refuses(unpack(members, { path, whole }), "invalid_argument", text);
            assert.deepEqual(readdirSync(join(path, "..")), ["root"]);
          });
        }
      }

      it("by an absolute name stays inside", async () => {
        const path = await unpack([{ path: "/mayfly-evil/f", content: "in" }, {
          path: "//b",
          type: "1",
          link: "/mayfly-evil/f",
        }]);
        assert.equal(readFileSync(join(path, "mayfly-evil/f"), "utf8"), "in");
        assert.equal(lstatSync(join(path, "b")).nlink, 2);
        assert.equal(existsSync("/mayfly-evil"), false);
      });

      for (const link of ["/mayfly-evil", "../../../../../../mayfly-evil", "/a/../../mayfly-evil", "mayfly-evil"]) {
        it(`through a symbolic link to ${link} stays inside`, async () => {
          const path = await unpack([{ path: "l", type: "2", link }, { path: "l/deep/f", content: "in" }]);
          assert.equal(readFileSync(join(path, "mayfly-evil/deep/f"), "utf8"), "in");
          assert.equal(readlinkSync(join(path, "l")), link);
          assert.equal(existsSync("/mayfly-evil"), false);
        });
      }

      it("onto a symbolic link replaces the link", async () => {
        const victim = join(folder, "victim");
        writeFileSync(victim, "safe");
        const path = await unpack([
          { path: "l", type: "2", link: victim },
          { path: "l", content: "new", mode: 0o600 },
          { path: "m", type: "2", link: folder },
          { path: "m", type: "5", mode: 0o700 },
          { path: "m/victim", content: "mine" },
        ]);
        assert.equal(readFileSync(victim, "utf8"), "safe");
        assert.equal(readFileSync(join(path, "l"), "utf8"), "new");
        assert.equal(readFileSync(join(path, "m/victim"), "utf8"), "mine");
      });

      it("by directory attributes that come last stays inside", async () => {
        const victim = join(folder, "victim-folder");
        mkdirSync(victim, { mode: 0o755 });
        await unpack([
          { path: "d", type: "5", mode: 0o777, uid: 99 },
          { path: "d", type: "2", link: victim },
        ]);
        assert.equal(lstatSync(victim).uid, 0);
      });
    });

    it("the last of equal names wins, whatever it replaces", async () => {
      const path = await unpack([
        { path: "a", content: "file" },
        { path: "a", type: "5" },
        { path: "a/b", content: "in a" },
        { path: "a", type: "2", link: "nowhere" },
        { path: "a", type: "5", mode: 0o711 },
        { path: "a/c", content: "1" },
        { path: "a/c", content: "2" },
        { path: "x/y/z", content: "deep" },
        { path: "x", content: "flat" },
        { path: "h", type: "1", link: "a/c" },
        { path: "h", type: "1", link: "a/c" },
        { path: "a/c", type: "1", link: "a/c" },
      ]);
      assert.deepEqual(readdirSync(path).sort(), ["a", "h", "x"]);
      assert.deepEqual(readdirSync(join(path, "a")), ["c"]);
      assert.equal(readFileSync(join(path, "h"), "utf8"), "2");
      assert.equal(readFileSync(join(path, "x"), "utf8"), "flat");
      assert.equal(lstatSync(join(path, "a")).mode & 0o7777, 0o711);
    });

    describe("whiteouts", () => {
      it("become what overlayfs wants", async () => {
        const path = await unpack([
          { path: "d", type: "5" },
          { path: "d/.wh.gone" },
          { path: "o/.wh..wh..opq" },
          { path: ".wh..wh.plnk", type: "5" },
          { path: ".wh..wh.plnk/1.2", content: "aufs" },
          { path: ".wh.again" },
          { path: "again/new", content: "" },
          { path: "before/new", content: "" },
          { path: ".wh.before" },
          { path: "file", content: "x" },
          { path: ".wh.file" },
        ]);
        assert.deepEqual(readdirSync(path).sort(), ["again", "before", "d", "file", "o"]);
        const gone = lstatSync(join(path, "d/gone"));
        assert.ok(gone.isCharacterDevice() && gone.rdev === 0);
        for (const [name, opaque] of [["o", "y"], ["again", "y"], ["before", "y"], ["d", undefined]] as const) {
          const value = attribute(join(path, name), "trusted.overlay.opaque");
          assert.equal(value === undefined ? undefined : new TextDecoder().decode(value), opaque, name);
        }
        assert.equal(readFileSync(join(path, "file"), "utf8"), "x");
      });

      if (!image) {
        it("leave the time of a folder that the layer does not name", async () => {
          const folders = ["changed", "emptied", "hidden", "made"].map((path) => ({ path, type: "5", mtime: 1000 }));
          const files = folders.map(({ path }) => ({ path: `${path}/file`, content: "1" }));
          const path = await unpack([...folders, ...files, { path: "named", type: "5", mtime: 1000 }], { whole: true });
          await unpack([
            { path: "changed/file", content: "2" },
            { path: "emptied/.wh.file" },
            { path: "hidden/.wh..wh..opq" },
            { path: "made/deep/file", content: "2" },
            { path: "named/file" },
            { path: "named", type: "5", mtime: 2000 },
          ], { path, whole: true });
          for (
            const [name, seconds] of [...folders.map(({ path }) => [path, 1000] as const), ["named", 2000] as const]
          ) {
            assert.equal(lstatSync(join(path, name)).mtimeMs, seconds * 1000, name);
          }
        });

        it("remove from a whole tree what was there before, and only that", async () => {
          const path = fresh();
          for (const name of ["d/old", "d/sub/old", "o/old", "gone/deep/old", "mixed/old"]) {
            mkdirSync(join(path, name, ".."), { recursive: true });
            writeFileSync(join(path, name), "old");
          }
          await unpack([
            { path: "d/new", content: "" },
            { path: "d/sub/new", content: "" },
            { path: "d/.wh..wh..opq" },
            { path: ".wh.gone" },
            { path: "o/.wh.old" },
            { path: ".wh.nothing" },
            { path: "nowhere/.wh..wh..opq" },
            { path: ".wh.mixed" },
            { path: "mixed/new", content: "" },
          ], { path, whole: true });
          assert.deepEqual(readdirSync(path, { recursive: true }).map(String).sort(), [
            "d",
            "d/new",
            "d/sub",
            "d/sub/new",
            "mixed",
            "mixed/new",
            "o",
          ]);
        });
      }

      it("cannot be forged with attributes of overlayfs", async () => {
        const path = await unpack([
          {
            path: "d",
            type: "5",
            pax: { "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.k": "v" },
          },
        ]);
        assert.equal(attribute(join(path, "d"), "trusted.overlay.redirect"), undefined);
        assert.deepEqual([...attribute(join(path, "d"), "user.k") ?? []], [0x76]);
      });
    });

    describe("over other layers", () => {
      it("a hard link to a file below brings it up with all that belongs to it", async () => {
        const low = await unpack([
          { path: "usr", type: "5", mode: 0o750, uid: 3, mtime: 12345 },
          { path: "usr/tool", content: "tool", mode: 0o4711, uid: 7, mtime: 99 },
          { path: "usr/dropped", content: "x" },
        ]);
        const mid = await unpack([{ path: "usr/.wh.dropped" }, { path: "opt/.wh..wh..opq" }]);
        const below = [mid, low];
        const path = await unpack([{ path: "bin/tool", type: "1", link: "/usr/tool" }], { below });
        const { mode, uid, nlink, mtimeMs } = lstatSync(join(path, "usr/tool"));
        assert.deepEqual([mode & 0o7777, uid, nlink, mtimeMs], [0o4711, 7, 2, 99_000]);
        assert.equal(readFileSync(join(path, "bin/tool"), "utf8"), "tool");
        const usr = lstatSync(join(path, "usr"));
        assert.deepEqual([usr.mode & 0o7777, usr.uid, usr.mtimeMs], [0o755, 0, lstatSync(join(mid, "usr")).mtimeMs]);
        for (const link of ["usr/dropped", "usr/missing", "usr"]) {
          await refuses(unpack([{ path: "l", type: "1", link }], { below }), "invalid_argument", /hard link "l"/);
        }
        await refuses(
          unpack([{ path: ".wh.usr" }, { path: "l", type: "1", link: "usr/tool" }], { below }),
          "invalid_argument",
          /hard link "l"/,
        );
      });

      it("a folder that the layer does not name is as it is below", async () => {
        const low = await unpack([{ path: "tmp", type: "5", mode: 0o1777, uid: 1, gid: 2, mtime: 5 }]);
        const path = await unpack([{ path: "tmp/f", content: "" }, { path: "new/f", content: "" }], { below: [low] });
        const tmp = lstatSync(join(path, "tmp"));
        assert.deepEqual([tmp.mode & 0o7777, tmp.uid, tmp.gid, tmp.mtimeMs], [0o1777, 1, 2, 5000]);
        assert.equal(lstatSync(join(path, "new")).mode & 0o7777, 0o755);
      });
    });

    describe("a file with holes", () => {
      const source = join(folder, "sparse");
      before(() => {
        mkdirSync(source, { recursive: true });
        const make = (name: string, size: number, pieces: readonly number[]) => {
          const path = join(source, name);
          const fd = openSync(path, "w");
          ftruncateSync(fd, size);
          for (const at of pieces) writeSync(fd, new Uint8Array(5000).fill(at % 251 + 1), 0, 5000, at);
          closeSync(fd);
        };
        make("holes", 3 << 20, [0, 1 << 20, (2 << 20) + 4096]);
        make("many", 8 << 20, Array.from({ length: 60 }, (_, i) => i * 131_072));
        make("empty", 1 << 20, []);
        make("whole", 5000, [0]);
      });

      for (
        const [form, flags] of [
          ["GNU's own", ["--format=gnu"]],
          ["pax 0.0", ["--format=pax", "--sparse-version=0.0"]],
          ["pax 0.1", ["--format=pax", "--sparse-version=0.1"]],
          ["pax 1.0", ["--format=pax", "--sparse-version=1.0"]],
        ] as const
      ) {
        it(`comes with them from ${form} form`, async () => {
          const names = ["holes", "many", "empty", "whole"];
          const archive = execFileSync("tar", ["-C", source, "--sparse", ...flags, "-cf", "-", ...names]);
          const path = fresh();
          await unpackBytes(kernel, path, new Uint8Array(archive), {});
          for (const name of names) {
            assert.equal(Buffer.compare(readFileSync(join(path, name)), readFileSync(join(source, name))), 0, name);
            if (!image) assert.ok(lstatSync(join(path, name)).blocks <= lstatSync(join(source, name)).blocks, name);
          }
        });
      }
    });

    describe("a broken archive", () => {
      const good = tarOf({ path: "a", content: "x".repeat(3000) }, { path: "b" });
      const changed = (at: number) => {
        const bytes = new Uint8Array(good);
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        return bytes;
      };
      const cases: readonly [string, Uint8Array, UnpackBytesOptions, ErrorCode, RegExp][] = [
        ["cut short", good.subarray(0, 2000), {}, "data_loss", /cut short/],
        ["cut short in gzip", good, { blob: gzipSync(good).subarray(0, -12) }, "data_loss", /gzip/],
        ["cut short in zstd", good, { blob: zstdCompressSync(good).subarray(0, -5) }, "data_loss", /zstd/],
        [
          "with junk behind gzip",
          good,
          { blob: joined([gzipSync(good), new Uint8Array([1, 2, 3])]) },
          "data_loss",
          /gzip/,
        ],
        ["with a wrong digest", good, { diffId: `sha256:${"0".repeat(64)}` }, "data_loss", /configuration says/],
        ["with a wrong checksum", changed(3), {}, "invalid_argument", /checksum/],
        ["that is text", new TextEncoder().encode("hello ".repeat(200)), {}, "invalid_argument", /tar/],
        ["with an unknown type", tarOf({ path: "a", type: "Z" }), {}, "unimplemented", /type "Z"/],
        [
          "with a sparse file of an unknown form",
          tarOf({ path: "a", pax: { "GNU.sparse.major": "2", "GNU.sparse.realsize": "1" } }),
          {},
          "unimplemented",
          /sparse file of form "2"/,
        ],
        [
          "with a sparse file whose pieces are beyond its end",
          tarOf({ path: "a", content: "x", pax: { "GNU.sparse.size": "5", "GNU.sparse.map": "5,1" } }),
          {},
          "invalid_argument",
          /a piece of a sparse file of 5 bytes is at 5, with 1 bytes/,
        ],
        [
          "with a sparse file that lacks a piece",
          tarOf({ path: "a", content: "x", pax: { "GNU.sparse.size": "5", "GNU.sparse.map": "0,2" } }),
          {},
          "invalid_argument",
          /have 2 bytes, the archive has 1/,
        ],
        [
          "with a sparse file that would fill the disk",
          tarOf({ path: "a", pax: { "GNU.sparse.size": String(2 ** 52), "GNU.sparse.map": "" } }),
          {},
          "resource_exhausted",
          /bytes unpacked/,
        ],
        [
          "with a sparse file whose map is no list of numbers",
          tarOf({ path: "a", content: "x\n", pax: { "GNU.sparse.major": "1", "GNU.sparse.realsize": "5" } }),
          {},
          "invalid_argument",
          /longer than its content|no whole number/,
        ],
        [
          "with a huge extended header",
          tarOf({ path: "p", type: "x", size: 2 << 20 }),
          {},
          "resource_exhausted",
          /extended/,
        ],
        [
          "with a malformed extended header",
          tarOf({ path: "p", type: "x", content: "999 a=b\n" }),
          {},
          "invalid_argument",
          /extended/,
        ],
        ["with a time that is none", tarOf({ path: "a", pax: { mtime: "soon" } }), {}, "invalid_argument", /mtime/],
        ["with a negative size", tarOf({ path: "a", pax: { size: "-1" } }), {}, "invalid_argument", /negative/],
        [
          "with a name past 4096 bytes",
          tarOf({ path: "a", pax: { path: "x/".repeat(2100) } }),
          {},
          "invalid_argument",
          /4096/,
        ],
        ["with a deep name", tarOf({ path: "a", pax: { path: "x/".repeat(600) } }), {}, "invalid_argument", /folders/],
        [
          "with a part past 255 bytes",
          tarOf({ path: "a", pax: { path: "x".repeat(300) } }),
          {},
          "invalid_argument",
          /too long/,
        ],
        [
          "with an owner that is none",
          tarOf({ path: "a", pax: { uid: "4294967295" } }),
          {},
          "invalid_argument",
          /owner/,
        ],
        ["past the limit of bytes", good, { limits: { bytes: 2500 } }, "resource_exhausted", /2500/],
        [
          "past the limit of entries",
          tarOf({ path: "a/b/c/d", type: "5" }),
          { limits: { entries: 3 } },
          "resource_exhausted",
          /3/,
        ],
        [
          "that is a bomb",
          new Uint8Array(0),
          { blob: gzipSync(new Uint8Array(1 << 24)), limits: { bytes: 1 << 20 } },
          "resource_exhausted",
          /1048576/,
        ],
      ];
      for (const [what, archive, options, code, text] of cases) {
        it(`${what} is refused`, () => refuses(unpackBytes(kernel, fresh(), archive, options), code, text));
      }

      it("without closing zeros, or with much behind them, is taken", async () => {
        const bare = joined(blocks({ path: "a", content: "x" }));
        const padded = joined([tarOf({ path: "a", content: "x" }), new Uint8Array(100_000)]);
        for (const archive of [bare, padded]) {
          const path = fresh();
          await unpackBytes(kernel, path, archive, { pieceBytes: 77 });
          assert.deepEqual(readdirSync(path), ["a"]);
        }
      });
    });
  });
}
