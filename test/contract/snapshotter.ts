import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Mount } from "../../src/core/mount.ts";
import type { SnapshotStore, Snapshotter } from "../../src/core/snapshotter.ts";

/** A snapshotter to be tested. */
export interface SnapshotterUnderTest extends AsyncDisposable {
  readonly snapshotter: Snapshotter;
  /** The folder in which it keeps the folders of snapshots. */
  readonly folder: string;
}

export interface SnapshotterContract {
  /** Opens a snapshotter on a root folder, new or used. @param wrap stands between it and where it records snapshots. */
  open(root: string, wrap?: (store: SnapshotStore) => SnapshotStore): Promise<SnapshotterUnderTest>;
  /** The command that opens the same on a root folder and calls `churn`. */
  churn(root: string): Promise<readonly [program: string, ...args: string[]]>;
  /** Makes a folder of the kind that it needs. Default: a temporary one. */
  place?(): Promise<Disposable & { readonly path: string }>;
}

/** What `churn` writes into each layer. */
const churnFiles = 20;

/** Makes, commits, labels and removes snapshots without end, and says each verb on a line of its own when it is done. */
export async function churn(snapshotter: Snapshotter, say: (line: string) => void): Promise<never> {
  let parent: string | undefined;
  for (let round = 0;; round++) {
    const key = `layer-${process.pid}-${round}`;
    await snapshotter.prepare(`active ${key}`, parent);
    say(`prepare ${key}`);
    const { path } = await snapshotter.folder(`active ${key}`);
    for (let i = 0; i < churnFiles; i++) writeFileSync(join(path, `${key}.${i}`), `${key} ${i}`);
    await snapshotter.commit(key, `active ${key}`, { labels: { round: String(round) } });
    say(`commit ${key}`);
    await snapshotter.view(`view ${key}`, key);
    say(`view ${key}`);
    await snapshotter.update(key, { seen: "yes" });
    say(`update ${key}`);
    await snapshotter.remove(`view ${key}`);
    say(`remove ${key}`);
    parent = round % 5 === 4 ? undefined : key;
  }
}

/** What every snapshotter has to do. Needs root. */
export function snapshotterContract(name: string, { open, churn, place }: SnapshotterContract): void {
  describe(`snapshotter ${name}`, () => {
    let folder = "";
    let target = "";
    let opened: SnapshotterUnderTest;
    let snapshotter: Snapshotter;
    let placed: Disposable | undefined;

    before(async () => {
      const at = place === undefined ? undefined : await place();
      placed = at;
      folder = mkdtempSync(join(at?.path ?? tmpdir(), "mayfly-snapshotter-"));
      target = join(folder, "mnt");
      mkdirSync(target);
      opened = await open(join(folder, "root"));
      snapshotter = opened.snapshotter;
    });

    after(async () => {
      try {
        await opened[Symbol.asyncDispose]();
        // What is read-only is not removed file by file; a place of its own goes as a whole.
        if (placed === undefined) rmSync(folder, { recursive: true, force: true });
      } finally {
        placed?.[Symbol.dispose]();
      }
    });

    /** Runs a function while the mounts are in place. */
    const mounted = <T>(mounts: readonly Mount[], use: (path: string) => T): T => {
      let count = 0;
      try {
        for (const { type, source, options } of mounts) {
          const flags = type === "bind" ? [] : ["-t", type];
          execFileSync("mount", [...flags, "-o", options.join(","), source, target]);
          count++;
        }
        return use(target);
      } finally {
        for (; count > 0; count--) execFileSync("umount", [target]);
      }
    };

    /** Commits a layer that a function writes through its mounts. */
    const layer = async (key: string, parent: string | undefined, write: (path: string) => void): Promise<void> => {
      mounted(await snapshotter.prepare(`active ${key}`, parent), write);
      await snapshotter.commit(key, `active ${key}`);
    };

    /** Reads the tree of a committed snapshot. */
    const read = async <T>(key: string, use: (path: string) => T): Promise<T> => {
      const mounts = await snapshotter.view(`view of ${key}`, key);
      try {
        return mounted(mounts, use);
      } finally {
        await snapshotter.remove(`view of ${key}`);
      }
    };

    const rejects = (promise: Promise<unknown>, code: ErrorCode) =>
      assert.rejects(promise, (error) => {
        assert.equal(codeOf(error), code, String(error));
        return true;
      });

    it("prepare() gives an empty folder, and commit() seals what was written", async () => {
      const mounts = await snapshotter.prepare("first active");
      mounted(mounts, (path) => {
        assert.deepEqual(readdirSync(path), []);
        writeFileSync(join(path, "file"), "first");
      });
      assert.equal((await snapshotter.stat("first active")).kind, "active");
      await snapshotter.commit("first", "first active");
      const info = await snapshotter.stat("first");
      assert.equal(info.kind, "committed");
      assert.equal(info.parent, undefined);
      await rejects(snapshotter.stat("first active"), "not_found");
      await read("first", (path) => assert.equal(readFileSync(join(path, "file"), "utf8"), "first"));
    });

    it("a child shows its parents, and changes nothing in them", async () => {
      await layer("low", undefined, (path) => {
        mkdirSync(join(path, "folder"));
        writeFileSync(join(path, "folder/kept"), "low");
        writeFileSync(join(path, "changed"), "low");
      });
      await layer("high", "low", (path) => {
        writeFileSync(join(path, "changed"), "high");
        writeFileSync(join(path, "folder/added"), "high");
        symlinkSync("added", join(path, "folder/link"));
      });
      await layer("higher", "high", (path) => writeFileSync(join(path, "top"), "higher"));
      assert.equal((await snapshotter.stat("higher")).parent, "high");
      await read("higher", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["changed", "folder", "top"]);
        assert.deepEqual(readdirSync(join(path, "folder")).sort(), ["added", "kept", "link"]);
        assert.equal(readFileSync(join(path, "changed"), "utf8"), "high");
      });
      await read("low", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["changed", "folder"]);
        assert.equal(readFileSync(join(path, "changed"), "utf8"), "low");
      });
    });

    it("what a child removes stays in its parent, and away in its own children", async () => {
      await layer("full", undefined, (path) => {
        mkdirSync(join(path, "emptied"));
        writeFileSync(join(path, "emptied/old"), "");
        writeFileSync(join(path, "gone"), "");
      });
      await layer("removed", "full", (path) => {
        rmSync(join(path, "gone"));
        rmSync(join(path, "emptied"), { recursive: true });
        mkdirSync(join(path, "emptied"));
        writeFileSync(join(path, "emptied/new"), "");
      });
      await layer("above", "removed", (path) => writeFileSync(join(path, "more"), ""));
      await read("above", (path) => {
        assert.deepEqual(readdirSync(path).sort(), ["emptied", "more"]);
        assert.deepEqual(readdirSync(join(path, "emptied")), ["new"]);
      });
      await read("full", (path) => assert.deepEqual(readdirSync(path).sort(), ["emptied", "gone"]));
    });

    it("folder() is where a layer is written without a mount", async () => {
      await layer("under", undefined, (path) => writeFileSync(join(path, "below"), ""));
      const mounts = await snapshotter.prepare("unpacking", "under");
      const { path, whole, below } = await snapshotter.folder("unpacking");
      writeFileSync(join(path, "written"), "x");
      mounted(mounts, (path) => assert.deepEqual(readdirSync(path).sort(), ["below", "written"]));
      assert.equal(existsSync(join(path, "below")), whole);
      assert.equal(below.length, 1);
      assert.deepEqual(readdirSync(below[0] ?? ""), ["below"]);
      await snapshotter.remove("unpacking");
      await rejects(snapshotter.folder("unpacking"), "not_found");
      await rejects(snapshotter.folder("under"), "failed_precondition");
    });

    it("mounts() gives what prepare() gave, also after a mount", async () => {
      await layer("base of again", undefined, () => {});
      const mounts = await snapshotter.prepare("again", "base of again");
      mounted(mounts, (path) => writeFileSync(join(path, "kept"), ""));
      assert.deepEqual(await snapshotter.mounts("again"), mounts);
      mounted(await snapshotter.mounts("again"), (path) => assert.deepEqual(readdirSync(path), ["kept"]));
      await snapshotter.remove("again");
    });

    it("a view cannot be written", async () => {
      await layer("read-only", undefined, (path) => writeFileSync(join(path, "file"), ""));
      await read("read-only", (path) => assert.throws(() => writeFileSync(join(path, "file"), "x"), /EROFS/));
    });

    it("keys are used once", async () => {
      await layer("taken", undefined, () => {});
      await rejects(snapshotter.prepare("taken"), "already_exists");
      await snapshotter.prepare("also taken");
      await rejects(snapshotter.prepare("also taken"), "already_exists");
      await rejects(snapshotter.view("also taken", "taken"), "already_exists");
      await rejects(snapshotter.commit("taken", "also taken"), "already_exists");
      assert.equal((await snapshotter.stat("also taken")).kind, "active");
      await snapshotter.remove("also taken");
    });

    it("a parent has to be committed and there", async () => {
      await snapshotter.prepare("not committed");
      await rejects(snapshotter.prepare("child", "not committed"), "failed_precondition");
      await rejects(snapshotter.view("child", "not committed"), "failed_precondition");
      await rejects(snapshotter.prepare("child", "nowhere"), "not_found");
      await rejects(snapshotter.view("child", "nowhere"), "not_found");
      await rejects(snapshotter.stat("child"), "not_found");
      await snapshotter.remove("not committed");
    });

    it("only what is active is committed, and what is committed has no mounts", async () => {
      await layer("done", undefined, () => {});
      await rejects(snapshotter.commit("done again", "done"), "failed_precondition");
      await rejects(snapshotter.mounts("done"), "failed_precondition");
      await rejects(snapshotter.mounts("nowhere"), "not_found");
      await rejects(snapshotter.commit("x", "nowhere"), "not_found");
      await snapshotter.view("look", "done");
      await rejects(snapshotter.commit("x", "look"), "failed_precondition");
      await snapshotter.remove("look");
    });

    it("remove() refuses a parent, and leaves nothing of others", async () => {
      await layer("mother", undefined, (path) => writeFileSync(join(path, "file"), "x"));
      await snapshotter.prepare("daughter", "mother");
      await snapshotter.view("look at mother", "mother");
      await rejects(snapshotter.remove("mother"), "failed_precondition");
      const before = readdirSync(opened.folder).length;
      await snapshotter.remove("daughter");
      await snapshotter.remove("look at mother");
      await snapshotter.remove("mother");
      await rejects(snapshotter.remove("mother"), "not_found");
      assert.equal(readdirSync(opened.folder).length, before - 2);
    });

    it("usage() counts a snapshot's own files", async () => {
      await layer("counted", undefined, (path) => writeFileSync(join(path, "file"), new Uint8Array(100_000)));
      const { bytes, inodes } = await snapshotter.usage("counted");
      assert.ok(bytes >= 100_000 && bytes < 200_000, String(bytes));
      assert.equal(inodes, 2);
      await rejects(snapshotter.usage("nowhere"), "not_found");
    });

    it("cleanup() removes what a crash left, and nothing else", async () => {
      const lost = join(opened.folder, "987654");
      const halfRemoved = join(opened.folder, "trash-987653");
      for (const path of [lost, halfRemoved]) mkdirSync(join(path, "fs/deep/er"), { recursive: true });
      writeFileSync(join(lost, "fs/deep/file"), "");
      const before = readdirSync(opened.folder).length;
      assert.deepEqual([...await snapshotter.cleanup()].sort(), [lost, halfRemoved].sort());
      assert.equal(readdirSync(opened.folder).length, before - 2);
      assert.deepEqual(await snapshotter.cleanup(), []);
      await read("higher", (path) => assert.ok(existsSync(join(path, "folder/kept"))));
    });

    it("walk() lists every snapshot, children before their parents", async () => {
      await snapshotter.prepare("walked");
      const infos = await snapshotter.walk();
      assert.ok(infos.some(({ key, kind }) => key === "walked" && kind === "active"));
      assert.ok(infos.some(({ key, kind, parent }) => key === "high" && kind === "committed" && parent === "low"));
      assert.equal(new Set(infos.map(({ id }) => id)).size, infos.length);
      const keys = infos.map(({ key }) => key);
      for (const { key, parent } of infos) {
        if (parent !== undefined) assert.ok(keys.indexOf(key) < keys.indexOf(parent), `${key} before ${parent}`);
      }
      await snapshotter.remove("walked");
    });

    it("walk() lists what a filter lets through", async () => {
      await layer("filter base", undefined, () => {});
      await snapshotter.prepare("filter 1", "filter base", { labels: { of: "me", more: "1" } });
      await snapshotter.view("filter 2", "filter base", { labels: { of: "me" } });
      const keys = async (filter: Parameters<Snapshotter["walk"]>[0]) =>
        (await snapshotter.walk(filter)).map(({ key }) => key).sort();
      assert.deepEqual(await keys({ parent: "filter base" }), ["filter 1", "filter 2"]);
      assert.deepEqual(await keys({ prefix: "filter " }), ["filter 1", "filter 2", "filter base"]);
      assert.deepEqual(await keys({ prefix: "filter ", kind: "committed" }), ["filter base"]);
      assert.deepEqual(await keys({ labels: { of: "me" } }), ["filter 1", "filter 2"]);
      assert.deepEqual(await keys({ labels: { of: "me", more: "1" }, kind: "active" }), ["filter 1"]);
      assert.deepEqual(await keys({ labels: { of: "you" } }), []);
      assert.deepEqual(await keys({ parent: "nowhere" }), []);
      for (const key of ["filter 1", "filter 2", "filter base"]) await snapshotter.remove(key);
    });

    it("labels are given, changed, taken away, and not kept by a commit", async () => {
      await snapshotter.prepare("labelled", undefined, { labels: { a: "1", "containerd.io/gc.root": "now" } });
      const made = await snapshotter.stat("labelled");
      assert.deepEqual(made.labels, { a: "1", "containerd.io/gc.root": "now" });
      const updated = await snapshotter.update("labelled", { a: null, b: "2", missing: null });
      assert.deepEqual(updated.labels, { b: "2", "containerd.io/gc.root": "now" });
      assert.ok(updated.updatedAt >= made.updatedAt);
      assert.deepEqual(await snapshotter.stat("labelled"), updated);
      await Promise.all([snapshotter.update("labelled", { c: "3" }), snapshotter.update("labelled", { d: "4" })]);
      assert.deepEqual((await snapshotter.stat("labelled")).labels, { ...updated.labels, c: "3", d: "4" });

      await snapshotter.commit("sealed", "labelled", { labels: { sealed: "yes" } });
      assert.deepEqual((await snapshotter.stat("sealed")).labels, { sealed: "yes" });
      await snapshotter.update("sealed", { sealed: "no" });
      assert.deepEqual((await snapshotter.stat("sealed")).labels, { sealed: "no" });
      await snapshotter.view("labelled view", "sealed", { labels: { v: "" } });
      assert.deepEqual((await snapshotter.stat("labelled view")).labels, { v: "" });

      const long = "x".repeat(4096);
      await rejects(snapshotter.update("sealed", { y: long }), "invalid_argument");
      await rejects(snapshotter.update("sealed", { "": "x" }), "invalid_argument");
      await rejects(snapshotter.update("nowhere", { a: "b" }), "not_found");
      await rejects(snapshotter.prepare("long", undefined, { labels: { y: long } }), "invalid_argument");
      await rejects(snapshotter.view("long", "sealed", { labels: { y: long } }), "invalid_argument");
      await snapshotter.prepare("short");
      await rejects(snapshotter.commit("long", "short", { labels: { y: long } }), "invalid_argument");
      assert.equal((await snapshotter.stat("short")).kind, "active");
      await rejects(snapshotter.stat("long"), "not_found");
      for (const key of ["short", "labelled view", "sealed"]) await snapshotter.remove(key);
    });

    it("a key is any text but none", async () => {
      await rejects(snapshotter.prepare(""), "invalid_argument");
      for (const key of ["../../up", "a/b", "ü 'quoted\"", ".", "new-1", "x".repeat(2000)]) {
        await layer(key, undefined, (path) => writeFileSync(join(path, "file"), key));
        await rejects(snapshotter.view("", key), "invalid_argument");
        await snapshotter.prepare("to be named", key);
        await rejects(snapshotter.commit("", "to be named"), "invalid_argument");
        await snapshotter.remove("to be named");
        await read(key, (path) => assert.equal(readFileSync(join(path, "file"), "utf8"), key));
        await snapshotter.remove(key);
      }
    });

    it("usage() is nothing for a view, and grows with what is written", async () => {
      await layer("used", undefined, (path) => writeFileSync(join(path, "file"), new Uint8Array(50_000)));
      await snapshotter.view("used view", "used");
      assert.deepEqual(await snapshotter.usage("used view"), { bytes: 0, inodes: 0 });
      const mounts = await snapshotter.prepare("used more", "used");
      const before = await snapshotter.usage("used more");
      mounted(mounts, (path) => writeFileSync(join(path, "more"), new Uint8Array(200_000)));
      const after = await snapshotter.usage("used more");
      assert.ok(after.bytes - before.bytes >= 200_000, `${before.bytes} → ${after.bytes}`);
      assert.equal(after.inodes - before.inodes, 1);
      for (const key of ["used view", "used more", "used"]) await snapshotter.remove(key);
    });

    it("callers at the same time do not hinder each other", async () => {
      await layer("busy", undefined, (path) => writeFileSync(join(path, "file"), "x"));
      const keys = Array.from({ length: 8 }, (_, i) => `busy ${i}`);
      await Promise.all(
        keys.map((key, i) => i % 2 === 0 ? snapshotter.prepare(key, "busy") : snapshotter.view(key, "busy")),
      );
      const races = await Promise.allSettled(keys.map(() => snapshotter.prepare("one of them", "busy")));
      assert.equal(races.filter(({ status }) => status === "fulfilled").length, 1);
      const [, ...removed] = await Promise.all([snapshotter.cleanup(), ...keys.map((key) => snapshotter.remove(key))]);
      assert.equal(removed.length, keys.length);
      const again = await Promise.allSettled([snapshotter.remove("one of them"), snapshotter.remove("one of them")]);
      assert.ok(again.some(({ status }) => status === "fulfilled"));
      await snapshotter.remove("busy");
      assert.deepEqual(await snapshotter.cleanup(), []);
    });

    describe("after a crash", () => {
      /** What a verb works on: `base` and `spare` are committed, `work` is active, `look` a view. */
      const verbs: Readonly<Record<string, (snapshotter: Snapshotter) => Promise<unknown>>> = {
        prepare: (snapshotter) => snapshotter.prepare("new", "base"),
        view: (snapshotter) => snapshotter.view("new", "base"),
        commit: (snapshotter) => snapshotter.commit("new", "work"),
        update: (snapshotter) => snapshotter.update("base", { changed: "yes" }),
        "remove of an active one": (snapshotter) => snapshotter.remove("work"),
        "remove of a view": (snapshotter) => snapshotter.remove("look"),
        "remove of a committed one": (snapshotter) => snapshotter.remove("spare"),
      };
      /** What the second call of a verb may say when the first had done its work. */
      const done: ReadonlySet<ErrorCode> = new Set(["already_exists", "not_found"]);
      let rounds = 0;

      for (const [verb, act] of Object.entries(verbs)) {
        for (const when of ["before", "after"] as const) {
          it(`${when} ${verb} is recorded, every method works`, async () => {
            const root = join(folder, `crash-${++rounds}`);
            {
              await using first = await open(root);
              await prepareAll(first.snapshotter);
            }
            await crash(root, when, act);
            await using second = await open(root);
            await everyMethod(second, act, done);
          });
        }
      }

      async function prepareAll(snapshotter: Snapshotter): Promise<void> {
        for (const key of ["base", "spare"]) {
          await snapshotter.prepare(`active ${key}`);
          writeFileSync(join((await snapshotter.folder(`active ${key}`)).path, "file"), key);
          await snapshotter.commit(key, `active ${key}`);
        }
        await snapshotter.prepare("work", "base");
        writeFileSync(join((await snapshotter.folder("work")).path, "more"), "work");
        await snapshotter.view("look", "base");
      }

      /** Runs a verb in a process that ends, as it were, right before or after it records what it does. */
      async function crash(
        root: string,
        when: "before" | "after",
        act: (snapshotter: Snapshotter) => Promise<unknown>,
      ) {
        const ended = Promise.withResolvers<void>();
        const dying = async (call: () => Promise<unknown>): Promise<never> => {
          if (when === "after") await call();
          ended.resolve();
          return await new Promise<never>(() => {});
        };
        await using first = await open(root, (store) => ({
          get: (key) => store.get(key),
          list: () => store.list(),
          parents: (key) => store.parents(key),
          create: (...args) => dying(() => store.create(...args)),
          commit: (...args) => dying(() => store.commit(...args)),
          update: (...args) => dying(() => store.update(...args)),
          remove: (...args) => dying(() => store.remove(...args)),
        }));
        act(first.snapshotter).catch(ended.reject);
        await ended.promise;
      }

      async function everyMethod(
        { snapshotter, folder }: SnapshotterUnderTest,
        act: (snapshotter: Snapshotter) => Promise<unknown>,
        done: ReadonlySet<ErrorCode>,
      ): Promise<void> {
        for (const { key, kind, id } of await snapshotter.walk()) {
          assert.equal((await snapshotter.stat(key)).id, id);
          await snapshotter.usage(key);
          await snapshotter.update(key, { after: "crash" });
          if (kind === "committed") {
            await rejects(snapshotter.mounts(key), "failed_precondition");
            continue;
          }
          if (kind === "view" || existsSync(join(folder, String(id)))) {
            mounted(await snapshotter.mounts(key), (path) => assert.ok(existsSync(join(path, "file"))));
            continue;
          }
          for (
            const call of [
              () => snapshotter.mounts(key),
              () => snapshotter.folder(key),
              () => snapshotter.commit("half", key),
            ]
          ) await rejects(call(), "failed_precondition");
        }
        await snapshotter.cleanup();
        assert.deepEqual(await snapshotter.cleanup(), []);
        const owned = new Set((await snapshotter.walk()).map(({ id }) => String(id)));
        assert.deepEqual(readdirSync(folder).filter((name) => !owned.has(name)), []);

        const again = await act(snapshotter).then(() => undefined, codeOf);
        assert.ok(again === undefined || done.has(again), again);
        if (again === "already_exists") {
          await snapshotter.remove("new");
          await snapshotter.prepare("new", "base");
        }
        for (const { key } of await snapshotter.walk()) await snapshotter.remove(key);
        assert.deepEqual(readdirSync(folder), []);
      }

      for (const lines of [1, 4, 7, 13, 18, 31]) {
        it(`of the process, ${lines} verbs from its start, what is committed is whole and nothing is left over`, async () => {
          const root = join(folder, `killed-${lines}`);
          const [program, ...args] = await churn(root);
          const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
          const ended = once(child, "exit");
          let seen = 0;
          for await (const _line of createInterface(child.stdout)) if (++seen === lines) child.kill("SIGKILL");
          assert.deepEqual(await ended, [null, "SIGKILL"]);

          await using second = await open(root);
          const { snapshotter } = second;
          const infos = await snapshotter.walk();
          assert.ok(infos.length > 0);
          for (const { key, kind } of infos) {
            if (kind !== "committed") continue;
            await snapshotter.view("check", key);
            mounted(await snapshotter.mounts("check"), (path) => {
              for (let i = 0; i < churnFiles; i++) {
                assert.equal(readFileSync(join(path, `${key}.${i}`), "utf8"), `${key} ${i}`);
              }
            });
            await snapshotter.remove("check");
          }
          for (const { key } of infos) await snapshotter.remove(key);
          await snapshotter.cleanup();
          assert.deepEqual(readdirSync(second.folder), []);
        });
      }
    });
  });
}
