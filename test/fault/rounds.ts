import assert from "node:assert/strict";
import { mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { tarOf } from "../images/tar_bytes.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { leftSince, type MachineState, machineState, type ProcessState } from "../support/machine_state.ts";
import { cgroupParent, MayflyProcess } from "../support/mayfly_process.ts";
import { descriptors, leftOnDisk } from "./daemon_state.ts";
import { Random } from "./random.ts";
import { functions, type VerbContext, verbs } from "./verbs.ts";

export interface RoundsOptions {
  readonly rounds: number;
  /** The same seed gives the same verbs and moments; what the machine makes of them differs. */
  readonly seed: number;
  /** Verbs at the same time. Default 6. */
  readonly atOnce?: number;
  /** Takes a line after each round. */
  readonly say?: (line: string) => void;
}

/** How long what was left has to go by itself: the kernel takes namespaces and cgroups down behind our back. */
const settleMs = 10_000;

/**
 * Puts a daemon under a load of mixed verbs, kills it at a random moment, starts the next one on what is left, and looks
 * over the machine, again and again.
 *
 * In each round the daemon does every verb once, and then a load, to its end: it has as many descriptors open then as
 * before, and nothing of the load is left. Then it is killed in the middle of another load. The next daemon ends in good
 * order, and nothing is left on the machine, on the disk, or in the database, but what was there at the beginning. Every
 * asynchronous call that was accepted is answered, by the one daemon or the next.
 *
 * @throws at the first round that leaves something, or in which a verb went wrong before the kill.
 */
export async function faultRounds({ rounds, seed, atOnce = 6, say = () => {} }: RoundsOptions): Promise<void> {
  const random = new Random(seed);
  const folder = mkdtempSync(join(tmpdir(), "mayfly-fault-"));
  const mark = `MAYFLY_FAULT=${folder}`;
  const cgroup = cgroupParent(folder);
  /** Processes of the daemons and of what they have run: by their environment, or their cgroup. */
  const isOurs = (thing: { readonly process: ProcessState } | { readonly path: string }) =>
    "path" in thing
      ? thing.path.includes(folder) || thing.path.includes(cgroup)
      : thing.process.environment.includes(mark) || thing.process.cgroups.includes(cgroup);
  const start = () => MayflyProcess.start(folder, ["--log-level", "error"], { MAYFLY_FAULT: folder });
  let count = 0;
  const calls = new Set<string>();

  try {
    const layout = makeBusyboxImage(folder, "box:1");
    const context = (daemon: MayflyProcess): VerbContext => ({
      daemon,
      random,
      layout,
      name: `v${count++}`,
      accepted: (id) => calls.add(id),
    });
    {
      await using first = await start();
      await done(first, "POST", "/v1/images/import", { path: layout, name: "box:1" });
      await done(first, "POST", "/v1/images/import", { path: volumeImages(join(folder, "volumes")) });
      for (const [name, settings] of Object.entries(functions)) {
        await done(first, "PUT", `/v1/functions/${name}`, {
          image: "box:1",
          env: { MAYFLY_FAULT: folder },
          ...settings,
        });
      }
      // Whoever uses something for the first time makes the folders for it.
      for (const [name, verb] of Object.entries(verbs)) await named(name, verb(context(first)), "at first");
      await answered(first, calls, "at first");
      assert.equal(await first.end("SIGTERM"), 0, first.log());
    }
    const clean = machineState();
    const cleanDisk = new Set(await leftOnDisk(folder));

    for (let round = 0; round < rounds; round++) {
      const where = `round ${round + 1} of seed ${seed}`;
      {
        await using daemon = await start();
        const pid = daemon.child.pid ?? 0;
        for (const [name, verb] of Object.entries(verbs)) await named(name, verb(context(daemon)), where);
        await answered(daemon, calls, where);
        await idle(daemon, where);
        const machine = machineState();
        const open = await settled(() => descriptors(pid));
        await load(daemon, context, { random, atOnce, verbs: 20 + random.below(20), where });
        await answered(daemon, calls, where);
        await idle(daemon, where);
        await nothing(
          () => difference(open, descriptors(pid)),
          `${where}: the daemon has more open than before`,
          daemon,
        );
        await nothing(() => leftSince(machine, machineState(), isOurs), `${where}: a load left something`, daemon);

        const killing = load(daemon, context, { random, atOnce, verbs: 1000, where }).then(
          () => "all verbs ended before the kill",
          (error) => error,
        );
        await new Promise((go) => setTimeout(go, random.next() * 400));
        const before = await Promise.race([killing, undefined]);
        assert.equal(before, undefined, `${where}: a verb went wrong before the kill`);
        await daemon.end("SIGKILL");
        await killing;
      }
      await using next = await start();
      await answered(next, calls, where);
      for (const { id } of await list(next, "/v1/containers?all=true")) {
        await done(next, "DELETE", `/v1/containers/${id}?force=true`);
      }
      for (const { name } of await list(next, "/v1/functions")) {
        if (name !== undefined && !(name in functions)) await done(next, "DELETE", `/v1/functions/${name}`);
      }
      for (const { name } of await list(next, "/v1/secrets")) await done(next, "DELETE", `/v1/secrets/${name}`);
      for (const { name } of await list(next, "/v1/images")) {
        if (name !== undefined && /\bv\d+:1$/.test(name)) await done(next, "DELETE", `/v1/images?name=${name}`);
      }
      await named("invoke", verbs["invoke"]?.(context(next)), where);
      assert.equal(await next.end("SIGTERM"), 0, next.log());
      await nothing(() => leftSince(clean, machineState(), isOurs), `${where}: the machine is not as before`, next);
      await nothing(
        async () => (await leftOnDisk(folder)).filter((line) => !cleanDisk.has(line)),
        `${where}: the disk is not as before`,
        next,
      );
      say(`${where}: nothing left`);
    }
  } finally {
    await ended(isOurs);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Images that verbs mount: a layout of `data:1`, which has two layers, and of `files:1`, an artifact. */
function volumeImages(path: string): string {
  const layout = new LayoutFolder(path);
  const file = layout.put("text/plain", "file");
  return layout.name({
    "data:1": layout.image([tarOf({ path: "one", content: "one " }), tarOf({ path: "two", content: "two " })]),
    "files:1": layout.artifact([{ ...file, annotations: { "org.opencontainers.image.title": "part/file" } }]),
  });
}

interface LoadOptions {
  readonly random: Random;
  readonly atOnce: number;
  readonly verbs: number;
  readonly where: string;
}

/** Runs random verbs, some at once. @throws what the first of them throws that goes wrong. */
async function load(
  daemon: MayflyProcess,
  context: (daemon: MayflyProcess) => VerbContext,
  { random, atOnce, verbs: most, where }: LoadOptions,
): Promise<void> {
  let begun = 0;
  const worker = async () => {
    while (begun++ < most) {
      const [name, verb] = random.pick(Object.entries(verbs));
      await named(name, verb(context(daemon)), where);
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: atOnce }, async () => {
    try {
      await worker();
    } catch (error) {
      // The others need not go on.
      begun = most;
      throw error;
    }
  }));
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

async function named(name: string, verb: Promise<void> | undefined, where: string): Promise<void> {
  try {
    await verb;
  } catch (cause) {
    throw new Error(`${where}: ${name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** Waits until no task is left. */
async function idle(daemon: MayflyProcess, where: string): Promise<void> {
  await nothing(
    async () => (await list(daemon, "/v1/tasks")).map((task) => `task ${JSON.stringify(task)}`),
    `${where}: tasks are left`,
    daemon,
  );
}

/** Waits until every call that was accepted has succeeded. */
async function answered(daemon: MayflyProcess, calls: Set<string>, where: string): Promise<void> {
  const open = async () => {
    const states = await Promise.all([...calls].map(async (id) => {
      const answer = await daemon.admin("GET", `/v1/calls/${id}`);
      const text = await answer.text();
      const status = answer.ok ? (JSON.parse(text) as { status: string }).status : text;
      if (status === "succeeded") calls.delete(id);
      return { id, status };
    }));
    return states.filter(({ status }) => status !== "succeeded").map(({ id, status }) => `call ${id}: ${status}`);
  };
  await nothing(open, `${where}: an accepted call has no answer`, daemon);
}

/** Waits until something has stayed the same for a while. */
async function settled<T>(look: () => T): Promise<T> {
  let last = look();
  for (let same = 0; same < 5;) {
    await new Promise((go) => setTimeout(go, 50));
    const now = look();
    same = JSON.stringify(now) === JSON.stringify(last) ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** Waits until nothing is left. @throws with what is. */
async function nothing(
  look: () => readonly string[] | Promise<readonly string[]>,
  what: string,
  daemon: MayflyProcess,
): Promise<void> {
  const deadline = Date.now() + settleMs;
  let left = await look();
  while (left.length > 0 && Date.now() < deadline) {
    await new Promise((go) => setTimeout(go, 50));
    left = await look();
  }
  assert.deepEqual(left, [], `${what}:\n${left.join("\n")}\n${daemon.log()}`);
}

/** What there is more of than before. */
function difference(
  before: Readonly<Record<string, number>>,
  now: Readonly<Record<string, number>>,
): readonly string[] {
  return Object.entries(now).filter(([kind, count]) => count > (before[kind] ?? 0)).map(([kind, count]) =>
    `${kind}: ${before[kind] ?? 0} before, ${count} now`
  );
}

async function list(daemon: MayflyProcess, path: string): Promise<readonly { id?: string; name?: string }[]> {
  const { items } = await (await daemon.admin("GET", path)).json() as { items: { id?: string; name?: string }[] };
  return items;
}

async function done(daemon: MayflyProcess, method: string, path: string, body?: unknown): Promise<void> {
  const answer = await daemon.admin(method, path, body);
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
}

/** Ends what a failed round has left, so that the folder can be removed. */
async function ended(isOurs: (thing: { readonly process: ProcessState } | { readonly path: string }) => boolean) {
  const ours = (state: MachineState) => state.processes.filter((process) => isOurs({ process }));
  for (const { pid } of ours(machineState())) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  const deadline = Date.now() + settleMs;
  while (ours(machineState()).length > 0 && Date.now() < deadline) await new Promise((go) => setTimeout(go, 50));
  for (const path of machineState().cgroups.filter((path) => isOurs({ path })).toReversed()) rmdirSync(path);
}
