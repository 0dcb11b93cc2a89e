import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { native as nativeRuntime } from "../../runtimes/native/mod.ts";
import { native } from "../../snapshotters/native/mod.ts";
import { overlay } from "../../snapshotters/overlay/mod.ts";
import { codeOf } from "../../src/core/errors.ts";
import { silent } from "../../src/core/logger.ts";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Network } from "../../src/core/network.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { copyIn } from "../../src/images/copy_in.ts";
import { copyOut } from "../../src/images/copy_out.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { EventBus } from "../../src/monitoring/events.ts";
import { none } from "../../src/network/none.ts";
import { type ContainerRoot, openContainerRoot } from "../../src/tasks/container_root.ts";
import { Tasks } from "../../src/tasks/tasks.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { TarReader } from "../../src/images/tar_reader.ts";

const mark = `mayfly-root-${process.pid}`;

describe("openContainerRoot()", () => {
  let folder = "";
  let metadata: Metadata;
  let runtime: Runtime;
  let snapshotter: Snapshotter;
  let copies: Snapshotter;
  let network: Network;
  let tasks: Tasks;
  let kernel: Kernel;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-root-"));
    const host = await currentHost();
    kernel = new Kernel(host);
    metadata = await openMetadata({ root: folder });
    mkdirSync(join(folder, "run"));
    const context = <Config>(config: Config) => ({
      host,
      root: folder,
      run: join(folder, "run"),
      config,
      log: silent,
      get: <T>() => metadata as T,
    });
    runtime = await nativeRuntime.create(context({ cgroupParent: `/${mark}` }));
    snapshotter = await overlay.create(context({ volatile: true }));
    copies = await native.create(context(undefined));
    network = await none.create(context(undefined)) as Network;
    tasks = new Tasks({
      host,
      runtimes: new Map([["native", runtime]]),
      snapshotters: new Map([["overlay", snapshotter]]),
      containers: metadata.containers,
      events: new EventBus((error) => assert.fail(String(error))),
    });
    await snapshotter.prepare("base");
    const { path } = await snapshotter.folder("base");
    for (const name of ["bin", "proc", "dev", "sys", "tmp", "etc"]) mkdirSync(join(path, name));
    copyFileSync("/bin/busybox", join(path, "bin/busybox"));
    for (const name of ["sh", "cat", "ln", "mkdir", "rm"]) symlinkSync("busybox", join(path, "bin", name));
    writeFileSync(join(path, "etc/from-base"), "base");
    await snapshotter.commit("low", "base");
    await snapshotter.prepare("second", "low");
    writeFileSync(join((await snapshotter.folder("second")).path, "second"), "second");
    await snapshotter.commit("chain", "second");
  });
  after(async () => {
    await tasks[Symbol.asyncDispose]();
    await runtime.recover();
    if (Symbol.asyncDispose in runtime) await (runtime as Runtime & AsyncDisposable)[Symbol.asyncDispose]();
    await metadata.close();
    rmSync(folder, { recursive: true });
    const mount = "/sys/fs/cgroup";
    for (const path of [join(mount, mark), ...readdirSync(mount).map((name) => join(mount, name, mark))]) {
      if (existsSync(path)) rmdirSync(path);
    }
  });

  const run = (script: string, keep: boolean) =>
    tasks.run({
      namespace: "default",
      image: "docker.io/library/busybox:latest",
      config: {
        os: "linux",
        architecture: "amd64",
        config: { Cmd: ["/bin/sh", "-c", script] },
        rootfs: { type: "layers", diff_ids: [] },
      },
      chain: "chain",
      runtime,
      snapshotter,
      network,
      keep,
      settings: {},
    });
  const put = async (root: ContainerRoot, path: string, name: string, content: string) => {
    const archive = tarOf({ path: name, content });
    await copyIn(
      kernel,
      root.fd,
      path,
      (async function* () {
        yield archive;
      })(),
    );
  };
  /** The files of an archive, with what is in them. */
  const get = async (root: ContainerRoot, path: string) => {
    const found: Record<string, string> = {};
    const reader = new TarReader();
    let name = "";
    for await (const chunk of await copyOut(kernel, root.fd, path)) {
      reader.feed(chunk);
      for (let event = reader.next(); event !== undefined; event = reader.next()) {
        if (event.kind === "entry") found[name = event.entry.path] = "";
        else if (event.kind === "data") found[name] += new TextDecoder().decode(event.bytes);
      }
    }
    return found;
  };
  const line = async (reader: ReadableStreamDefaultReader<Uint8Array>) =>
    new TextDecoder().decode((await reader.read()).value);

  for (const keep of [false, true]) {
    it(`sees a running container as it sees itself (${keep ? "its changes on disk" : "its changes in memory"})`, async () => {
      await using container = await run("echo mine >/etc/own; echo ready; read x; cat /etc/given; cat", keep);
      const output = container.task.stdout!.getReader();
      const input = container.task.stdin!.getWriter();
      assert.equal(await line(output), "ready\n");
      {
        using root = await openContainerRoot(kernel, { task: container.task, snapshotter, key: "unused" });
        assert.equal(root.live, true);
        assert.deepEqual(await get(root, "/etc"), { "etc/": "", "etc/from-base": "base", "etc/own": "mine\n" });
        assert.deepEqual(await get(root, "/second"), { second: "second" });
        await put(root, "/etc", "given", "from outside\n");
      }
      await input.write(new TextEncoder().encode("go\n"));
      assert.equal(await line(output), "from outside\n");
      await input.close();
      output.releaseLock();
      await container.done;
    });
  }

  it("follows no link out of a running container", async () => {
    const hostOwn = join(folder, "secret");
    writeFileSync(hostOwn, "secret");
    await using container = await run(
      `ln -s ${folder} /out; ln -s /proc/1/root /magic; ln -s ../../../../.. /up; echo ready; cat`,
      false,
    );
    const output = container.task.stdout!.getReader();
    assert.equal(await line(output), "ready\n");
    output.releaseLock();
    using root = await openContainerRoot(kernel, { task: container.task, snapshotter, key: "unused" });
    await assert.rejects(get(root, "/out/secret"), (error) => codeOf(error) === "not_found");
    await assert.rejects(get(root, `/up${hostOwn}`), (error) => codeOf(error) === "not_found");
    await assert.rejects(get(root, "/magic/etc/"), (error) => codeOf(error) === "invalid_argument");
    await assert.rejects(put(root, "/out", "secret", "stolen"), (error) => codeOf(error) === "not_found");
    assert.equal(readFileSync(hostOwn, "utf8"), "secret");
  });

  it("is led out by no container that changes folders into links under its hands", async () => {
    const outside = join(folder, "outside");
    mkdirSync(join(outside, "sub"), { recursive: true });
    for (const name of ["file", "fifo", "sub/file"]) writeFileSync(join(outside, name), "outside", { mode: 0o600 });
    const script = `echo ready; while :; do
      mkdir -p /tmp/d/sub; rm -rf /tmp/d; ln -s ${outside} /tmp/d; rm -f /tmp/d
      mkdir /tmp/d; ln -s ${outside}/sub /tmp/d/sub; ln -sf ${outside}/fifo /tmp/d/fifo; rm -rf /tmp/d
    done`;
    await using container = await run(script, false);
    const output = container.task.stdout!.getReader();
    assert.equal(await line(output), "ready\n");
    output.releaseLock();
    using root = await openContainerRoot(kernel, { task: container.task, snapshotter, key: "unused" });
    const archive = tarOf(
      { path: "d", type: "5", mode: 0o777 },
      { path: "d/file", content: "inside", mode: 0o777 },
      { path: "d/fifo", type: "6", mode: 0o777 },
      { path: "d/sub/file", content: "inside", mode: 0o777 },
    );
    let landed = 0;
    for (let round = 0; round < 300; round++) {
      // Whether the one or the other comes first, a copy may fail.
      await copyIn(
        kernel,
        root.fd,
        "/tmp",
        (async function* () {
          yield archive;
        })(),
      ).then(() => landed++, () => {});
      const seen = await get(root, "/tmp/d/.").catch(() => ({}));
      assert.ok(!Object.values(seen).includes("outside"), JSON.stringify(seen));
    }
    assert.ok(landed > 0);
    for (const name of ["file", "fifo", "sub/file"]) {
      assert.equal(readFileSync(join(outside, name), "utf8"), "outside");
      assert.equal(statSync(join(outside, name)).mode & 0o7777, 0o600);
    }
    assert.deepEqual(readdirSync(outside).sort(), ["fifo", "file", "sub"]);
  });

  it("opens the snapshot of a stopped one, through its layers, and writes into it", async () => {
    await copies.prepare("unpacking");
    const { path } = await copies.folder("unpacking");
    mkdirSync(join(path, "etc"));
    writeFileSync(join(path, "second"), "second");
    await copies.commit("chain", "unpacking");
    for (const stopped of [snapshotter, copies]) {
      await stopped.prepare("stopped", "chain");
      for (const round of [1, 2]) {
        using root = await openContainerRoot(kernel, { snapshotter: stopped, key: "stopped" });
        assert.equal(root.live, false);
        assert.deepEqual(await get(root, "/second"), { second: "second" });
        await put(root, "/etc", "given", `round ${round}`);
        assert.deepEqual(await get(root, "/etc/given"), { given: `round ${round}` });
      }
      const { path } = await stopped.folder("stopped");
      assert.equal(readFileSync(join(path, "etc/given"), "utf8"), "round 2");
      assert.equal(readFileSync("/proc/self/mounts", "utf8").includes(folder), false);
      await stopped.remove("stopped");
    }
  });

  it("refuses a snapshot that keeps no changes, and one that is not there", async () => {
    await snapshotter.view("gone", "chain");
    await assert.rejects(
      openContainerRoot(kernel, { snapshotter, key: "gone" }),
      (error) => codeOf(error) === "failed_precondition",
    );
    await assert.rejects(
      openContainerRoot(kernel, { snapshotter, key: "nowhere" }),
      (error) => codeOf(error) === "not_found",
    );
    await snapshotter.remove("gone");
  });
});
