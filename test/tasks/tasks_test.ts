import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { native as nativeRuntime } from "../../runtimes/native/mod.ts";
import { native as nativeSnapshotter } from "../../snapshotters/native/mod.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Event } from "../../src/core/event.ts";
import type { Metadata } from "../../src/core/metadata.ts";
import type { Network } from "../../src/core/network.ts";
import { silent } from "../../src/core/logger.ts";
import type { PluginContext } from "../../src/core/plugin.ts";
import type { Runtime } from "../../src/core/runtime.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { currentHost } from "../../src/host/mod.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { EventBus } from "../../src/monitoring/events.ts";
import { host as hostPlugin } from "../../src/network/host.ts";
import { none } from "../../src/network/none.ts";
import type { RunOptions } from "../../src/tasks/container_run.ts";
import type { SpecSettings } from "../../src/tasks/spec.ts";
import { Tasks } from "../../src/tasks/tasks.ts";

const busybox = "/bin/busybox";
const missing = process.getuid?.() !== 0
  ? "needs root"
  : existsSync(busybox)
  ? false
  : `no ${busybox}: install busybox-static`;
const chain = `sha256:${"1".repeat(64)}`;
const mark = `mayfly-tasks-${process.pid}-${Math.random().toString(16).slice(2, 8)}`;

/** A runtime keeps the cgroup that its containers' are below. */
function removeCgroup(name: string): void {
  const mount = "/sys/fs/cgroup";
  for (const path of [join(mount, name), ...readdirSync(mount).map((hierarchy) => join(mount, hierarchy, name))]) {
    if (existsSync(path)) rmdirSync(path);
  }
}

describe("Tasks", { skip: missing }, () => {
  let folder = "";
  let metadata: Metadata;
  let runtime: Runtime;
  let snapshotter: Snapshotter;
  let network: Network;
  let hostNetwork: Network;
  let tasks: Tasks;
  let events: EventBus;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-tasks-"));
    const host = await currentHost();
    metadata = await openMetadata({ root: folder });
    const context = <Config>(config: Config): PluginContext<Config> => ({
      host,
      root: folder,
      run: join(folder, "run"),
      config,
      log: silent,
      get: <T>() => metadata as T,
    });
    mkdirSync(join(folder, "run"));
    runtime = await nativeRuntime.create(context({ cgroupParent: `/${mark}` }));
    snapshotter = await nativeSnapshotter.create(context(undefined));
    network = await none.create(context(undefined)) as Network;
    hostNetwork = await hostPlugin.create(context(undefined)) as Network;
    events = new EventBus((error) => assert.fail(String(error)));
    tasks = new Tasks({
      host,
      runtimes: new Map([["native", runtime]]),
      snapshotters: new Map([["native", snapshotter]]),
      containers: metadata.containers,
      events,
    });

    await snapshotter.prepare("image");
    const { path } = await snapshotter.folder("image");
    for (const name of ["bin", "etc", "proc", "dev", "sys", "tmp"]) mkdirSync(join(path, name));
    copyFileSync(busybox, join(path, "bin/busybox"));
    for (const name of ["sh", "sleep", "cat", "id", "tail", "readlink"]) {
      symlinkSync("busybox", join(path, "bin", name));
    }
    writeFileSync(join(path, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n");
    writeFileSync(join(path, "etc/group"), "www:x:33:web\n");
    await snapshotter.commit(chain, "image");
  });
  after(async () => {
    await tasks[Symbol.asyncDispose]();
    await runtime.recover();
    if (Symbol.asyncDispose in runtime) await (runtime as Runtime & AsyncDisposable)[Symbol.asyncDispose]();
    await metadata.close();
    rmSync(folder, { recursive: true });
    removeCgroup(mark);
  });

  const options = (script: string, settings: SpecSettings & { timeoutMs?: number } = {}): RunOptions => ({
    namespace: "default",
    image: "docker.io/library/busybox:latest",
    config: {
      os: "linux",
      architecture: "amd64",
      config: { Cmd: ["/bin/sh", "-c", script] },
      rootfs: { type: "layers", diff_ids: [] },
    },
    chain,
    runtime,
    snapshotter,
    network,
    settings,
  });
  const text = async (stream: ReadableStream<Uint8Array> | undefined) => await new Response(stream ?? null).text();
  const nothingLeft = async () => {
    assert.deepEqual(await tasks.list(), []);
    assert.deepEqual(runtime.tasks(), []);
    assert.deepEqual(await metadata.containers.list(), []);
    assert.deepEqual((await snapshotter.walk()).map(({ key }) => key), [chain]);
  };

  it("run() gives streams and exit, and removes all behind it", async () => {
    const run = await tasks.run(options('read x; echo "out $x"; echo err >&2; exit 3'));
    const [container] = await metadata.containers.list();
    assert.deepEqual([container?.id, container?.image], [run.id, "docker.io/library/busybox:latest"]);
    const output = Promise.all([text(run.task.stdout), text(run.task.stderr)]);
    const writer = run.task.stdin?.getWriter();
    await writer?.write(new TextEncoder().encode("in\n"));
    await writer?.close();
    assert.deepEqual(await output, ["out in\n", "err\n"]);
    assert.equal((await run.done).code, 3);
    await nothingLeft();
  });

  it("run() takes the user from the image", async () => {
    const accounts = await tasks.accounts(snapshotter, chain);
    const run = await tasks.run({ ...options("id -u; id -G", { user: "web" }), accounts });
    assert.equal(await text(run.task.stdout), "1000\n1001 33\n");
    assert.equal((await run.done).code, 0);
    await nothingLeft();
  });

  it("create() has containers killed before the daemon when memory runs out", async () => {
    const own = Number(readFileSync("/proc/self/oom_score_adj", "utf8"));
    const run = await tasks.run(options("cat /proc/self/oom_score_adj"));
    assert.equal(await text(run.task.stdout), `${Math.min(own + 100, 1000)}\n`);
    await run.done;
    await nothingLeft();
  });

  it("run() kills at the deadline, and says so", async () => {
    const run = await tasks.run(options("sleep 60", { timeoutMs: 100 }));
    await assert.rejects(run.done, (error) => codeOf(error) === "deadline_exceeded");
    await nothingLeft();
  });

  it("run() kills by its signal, and says so", async () => {
    const caller = new AbortController();
    const run = await tasks.run({ ...options("sleep 60"), signal: caller.signal });
    caller.abort();
    await assert.rejects(run.done, (error) => codeOf(error) === "aborted");
    await nothingLeft();
    await assert.rejects(tasks.run({ ...options("exit 0"), signal: caller.signal }));
    await nothingLeft();
  });

  it("run() leaves nothing when a step fails", async () => {
    const missingCommand = options("", { command: ["/nowhere"] });
    await assert.rejects(tasks.run(missingCommand), (error) => codeOf(error) === "invalid_argument");
    await nothingLeft();
    const notExecutable = options("", { command: ["/etc/passwd"] });
    await assert.rejects(tasks.run(notExecutable), (error) => codeOf(error) === "permission_denied");
    await nothingLeft();
    await assert.rejects(
      tasks.run({ ...options(""), chain: `sha256:${"2".repeat(64)}` }),
      (error) => codeOf(error) === "not_found",
    );
    await nothingLeft();
    await assert.rejects(
      tasks.run({ ...options(""), settings: { user: "nobody-knows" } }),
      (error) => codeOf(error) === "invalid_argument",
    );
    await nothingLeft();
  });

  it("a run that is disposed of is killed and removed", async () => {
    {
      await using run = await tasks.run(options("sleep 60"));
      assert.equal(run.task.status, "running");
    }
    await nothingLeft();
  });

  it("list() shows tasks of a namespace, with what they use", async () => {
    await using run = await tasks.run(options("sleep 60"));
    const [info, ...more] = await tasks.list("default");
    assert.deepEqual(more, []);
    assert.deepEqual([info?.id, info?.runtime, info?.status, info?.pid, info?.image], [
      run.id,
      "native",
      "running",
      run.task.pid,
      "docker.io/library/busybox:latest",
    ]);
    assert.ok(info?.startedAt !== undefined && info.startedAt >= info.createdAt);
    assert.ok(info.stats !== undefined);
    assert.deepEqual(await tasks.list("other"), []);
  });

  it("tells each event of a task once, in order", async () => {
    const seen: Event[] = [];
    const stop = events.subscribe("/tasks/", (event) => seen.push(event));
    const run = await tasks.run(options("exit 5"));
    await run.done;
    await run.task.delete();
    stop();
    assert.deepEqual(seen.map(({ topic }) => topic), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    for (const { namespace, data } of seen) assert.deepEqual([namespace, data["containerId"]], ["default", run.id]);
    assert.deepEqual(seen.slice(2).map(({ data }) => data["exitStatus"]), [5, 5]);
  });

  it("tells when the kernel has killed for memory", async () => {
    const seen: string[] = [];
    const stop = events.subscribe("/tasks/", ({ topic }) => seen.push(topic));
    const run = await tasks.run(options("tail /dev/zero", { memoryBytes: 16 * 1024 * 1024 }));
    assert.equal((await run.done).oomKilled, true);
    stop();
    assert.deepEqual(seen, ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit", "/tasks/delete"]);
    await nothingLeft();
  });

  it("run() uses the machine's network where it is told to, and one of its own else", async () => {
    const inside = async (plugin: Network) => {
      const run = await tasks.run({ ...options("readlink /proc/self/ns/net; cat /etc/hosts"), network: plugin });
      const output = await text(run.task.stdout);
      await run.done;
      return output;
    };
    const machine = readlinkSync("/proc/self/ns/net");
    const hosts = existsSync("/etc/hosts") ? readFileSync("/etc/hosts", "utf8") : "";
    assert.equal(await inside(hostNetwork), `${machine}\n${hosts}`);
    assert.match(await inside(network), /^net:\[\d+\]\n$/);
    assert.ok(!(await inside(network)).includes(machine));
    await nothingLeft();
  });

  it("recover() removes what an earlier process left, and nothing else", async () => {
    const labels = { "mayfly/ephemeral": "true" };
    const container = { namespace: "default", image: undefined, runtime: "native", snapshotter: "native", spec: {} };
    await metadata.containers.create({ ...container, id: "left", snapshotKey: "container/default/left", labels });
    await metadata.containers.create({ ...container, id: "kept", snapshotKey: undefined, labels: {} });
    await snapshotter.prepare("container/default/left", chain);
    await snapshotter.view("invocation/left", chain);
    await snapshotter.prepare("mine", chain);

    const recovered = await tasks.recover(["invocation/"]);
    assert.deepEqual(recovered.problems, []);
    assert.deepEqual(recovered.containers, ["default/left"]);
    assert.deepEqual([...recovered.snapshots].sort(), ["native/container/default/left", "native/invocation/left"]);
    assert.deepEqual((await metadata.containers.list()).map(({ id }) => id), ["kept"]);
    assert.deepEqual((await snapshotter.walk()).map(({ key }) => key).sort(), ["mine", chain]);
    await metadata.containers.delete("default", "kept");
    await snapshotter.remove("mine");
    await nothingLeft();
  });

  it("disposing of them all kills every task, waits until all is removed, and takes no more", async () => {
    const runs = await Promise.all([tasks.run(options("sleep 60")), tasks.run(options("sleep 60"))]);
    await tasks[Symbol.asyncDispose]();
    await nothingLeft();
    for (const run of runs) assert.equal((await run.done).signal, 9);
    await assert.rejects(tasks.run(options("exit 0")), (error) => codeOf(error) === "unavailable");
    await nothingLeft();
  });
});
