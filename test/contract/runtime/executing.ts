import assert from "node:assert/strict";
import { existsSync, readlinkSync } from "node:fs";
import type { SpecProcess } from "../../../src/core/spec.ts";
import { can, demand, type Executes, type Process, type Task } from "../../../src/core/task.ts";
import { code, type Fixture, Reader, text, write } from "./fixture.ts";

let count = 0;

/** More processes beside init. */
export function executing(f: Fixture): void {
  const { it, specOf, sh, startWith } = f;
  const needs = { ability: "exec" } as const;
  const sleeping = () => startWith("exec", specOf(["sleep", "60"]));
  const processOf = (args: readonly string[], changes: Partial<SpecProcess> = {}): SpecProcess => ({
    ...specOf(args).spec.process,
    ...changes,
  });

  const exec = (task: Task & Executes, args: readonly string[], changes?: Partial<SpecProcess>): Promise<Process> =>
    task.exec({ id: `p${count++}`, process: processOf(args, changes) });

  const outcome = async (process: Process) => {
    const [stdout, stderr] = [text(process.stdout), text(process.stderr)];
    await process.stdin?.close();
    const exit = await process.wait();
    return { exit, stdout: await stdout, stderr: await stderr };
  };

  it("runs in the container's namespaces, cgroup and root", async () => {
    const task = await startWith("exec", sh("echo x > /tmp/there; echo ready; exec sleep 60"));
    const reader = new Reader(task.stdout);
    await reader.line();
    const process = await exec(task, ["sh", "-c", "echo $$; cat /tmp/there /proc/self/cgroup; read x"]);
    for (const type of ["pid", "mnt", "ipc", "uts", "net", "cgroup"]) {
      const [own, init] = [process.pid, task.pid].map((pid) => readlinkSync(`/proc/${pid}/ns/${type}`));
      assert.equal(own, init, type);
    }
    if (can(task, "stats")) assert.ok((await task.pids()).includes(process.pid));
    const { stdout, exit } = await outcome(process);
    const [pid, there, ...cgroups] = stdout.trim().split("\n");
    assert.ok(Number(pid) > 1);
    assert.equal(there, "x");
    for (const line of cgroups) assert.match(line, /:\/$/);
    assert.equal(exit.code, 1);
    assert.ok(Math.abs(exit.exitedAt.getTime() - Date.now()) < 10_000);
    await reader.cancel();
  }, needs);

  it("has its own arguments, environment, folder, user and limits", async () => {
    const task = await sleeping();
    const script = 'echo "$@"; echo $A; pwd; id -u; id -G; ulimit -n';
    const process = await exec(task, ["sh", "-c", script, "sh", "a b", "c"], {
      env: ["PATH=/bin", "A=of its own"],
      cwd: "/tmp",
      user: { uid: 1000, gid: 1001, additionalGids: [29] },
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 77, hard: 77 }],
    });
    const { stdout, stderr } = await outcome(process);
    assert.deepEqual(
      stdout.trim().split("\n"),
      ["a b c", "of its own", "/tmp", "1000", "1001 29", "77"],
      stderr,
    );
  }, needs);

  it("has its own umask", async () => {
    const task = await sleeping();
    const process = await exec(task, ["sh", "-c", "umask"], { user: { uid: 0, gid: 0, umask: 0o027 } });
    assert.equal((await outcome(process)).stdout, "0027\n");
  }, needs);

  it("has its own OOM score", async () => {
    const task = await sleeping();
    const process = await exec(task, ["cat", "/proc/self/oom_score_adj"], { oomScoreAdj: 500 });
    assert.equal((await outcome(process)).stdout, "500\n");
  }, needs);

  it("has no more rights than it is given", async () => {
    const task = await sleeping();
    const capabilities = { bounding: ["CAP_KILL"], permitted: ["CAP_KILL"], effective: ["CAP_KILL"] };
    const status = (await outcome(await exec(task, ["cat", "/proc/self/status"], { capabilities }))).stdout;
    for (const field of ["CapPrm", "CapEff", "CapBnd"]) {
      assert.equal(
        Number.parseInt(new RegExp(`^${field}:\\s*(\\w+)$`, "m").exec(status)?.[1] ?? "", 16),
        1 << 5,
        field,
      );
    }
    assert.match(status, /^NoNewPrivs:\s*1$/m);
    assert.match(status, /^Seccomp:\s*2$/m);
  }, needs);

  it("has no descriptors but its streams", async () => {
    const task = await sleeping();
    const { stdout } = await outcome(await exec(task, ["ls", "/proc/self/fd"]));
    assert.deepEqual(stdout.trim().split("\n"), ["0", "1", "2", "3"]);
  }, needs);

  it("has streams of its own", async () => {
    const task = await sleeping();
    const process = await exec(task, ["sh", "-c", "while read line; do echo $line; echo error >&2; done"]);
    const reader = new Reader(process.stdout);
    await write(process.stdin, "one\n");
    assert.equal(await reader.line(), "one");
    await write(process.stdin, "two\n");
    assert.equal(await reader.line(), "two");
    await process.stdin?.close();
    assert.equal(await reader.rest(), "");
    assert.equal(await text(process.stderr), "error\nerror\n");
    assert.equal((await process.wait()).code, 0);
    const stdio = { stdin: false, stdout: true, stderr: false };
    const silent = await task.exec({ id: "silent", process: processOf(["sh", "-c", "cat; echo out"]), stdio });
    assert.equal(silent.stdin, undefined);
    assert.equal(silent.stderr, undefined);
    assert.equal(await text(silent.stdout), "out\n");
  }, needs);

  for (const status of [0, 1, 42, 255]) {
    it(`tells exit status ${status}`, async () => {
      const task = await sleeping();
      assert.equal((await outcome(await exec(task, ["sh", "-c", `exit ${status}`]))).exit.code, status);
    }, needs);
  }

  it("runs many at once", async () => {
    const task = await sleeping();
    const outcomes = await Promise.all(
      Array.from(
        { length: 8 },
        async (_, index) => await outcome(await exec(task, ["sh", "-c", `echo ${index}; exit ${index}`])),
      ),
    );
    for (const [index, { exit, stdout }] of outcomes.entries()) {
      assert.deepEqual([exit.code, stdout], [index, `${index}\n`]);
    }
  }, needs);

  it("can be signalled, and told that it was", async () => {
    const task = await sleeping();
    const trapping = await exec(task, ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"]);
    const reader = new Reader(trapping.stdout);
    await reader.line();
    await assert.rejects(trapping.kill(999), code("invalid_argument"));
    await trapping.kill(15);
    assert.equal((await trapping.wait()).code, 7);
    await reader.cancel();
    const killed = await exec(task, ["sleep", "60"]);
    await killed.kill();
    const exit = await killed.wait();
    assert.deepEqual([exit.code, exit.signal], [137, 9]);
    await killed.kill();
    assert.equal(task.status, "running");
  }, needs);

  it("delete() kills, may be called again, and takes it off the list", async () => {
    const task = await sleeping();
    const process = await exec(task, ["sleep", "60"]);
    assert.deepEqual(task.processes().map(({ id }) => id), [process.id]);
    const exits = await Promise.all([process.delete(), process.delete()]);
    assert.equal(exits[0]?.signal, 9);
    assert.deepEqual(exits[1], exits[0]);
    assert.deepEqual(task.processes(), []);
    assert.ok(!existsSync(`/proc/${process.pid}`));
    await process.kill();
  }, needs);

  it("ends with init", async () => {
    const task = await sleeping();
    const process = await exec(task, ["sleep", "60"]);
    await task.kill();
    assert.equal((await task.wait()).signal, 9);
    assert.equal((await process.wait()).signal, 9);
  }, needs);

  it("refuses an id in use, and ids that are none", async () => {
    const task = await sleeping();
    const options = { id: "same", process: processOf(["sleep", "60"]) };
    const process = await task.exec(options);
    await assert.rejects(task.exec(options), code("already_exists"));
    await process.delete();
    await (await task.exec(options)).delete();
    for (const id of ["", "-a", "../x", "a/b", "a".repeat(129)]) {
      await assert.rejects(async () => await task.exec({ ...options, id }), code("invalid_argument"), id);
    }
  }, needs);

  it("refuses a task that does not run", async () => {
    const process = processOf(["true"]);
    const task = demand(await f.runtime.create(specOf(["sleep", "60"])), "exec");
    await assert.rejects(task.exec({ id: "a", process }), code("failed_precondition"));
    await task.start();
    if (can(task, "pause")) {
      await task.pause();
      await assert.rejects(task.exec({ id: "b", process }), code("failed_precondition"));
      await task.resume();
    }
    await task.kill();
    await task.wait();
    await assert.rejects(task.exec({ id: "c", process }), code("failed_precondition"));
    await task.delete();
    await assert.rejects(task.exec({ id: "d", process }), code("failed_precondition"));
    assert.deepEqual(task.processes(), []);
  }, needs);

  it("tells of a command that cannot run", async () => {
    const task = await sleeping();
    const refused = async (args: readonly string[], wanted: string, exitCode: number) => {
      await assert.rejects(exec(task, args), (error: unknown) => {
        const { code, details } = error as { code?: string; details?: { exitCode?: number } };
        assert.deepEqual([code, details?.exitCode], [wanted, exitCode], String(error));
        return true;
      });
    };
    await refused(["/bin/nonesuch"], "not_found", 127);
    await refused(["nonesuch"], "not_found", 127);
    await refused(["/etc/passwd"], "permission_denied", 126);
    assert.deepEqual(task.processes(), []);
    assert.equal(task.status, "running");
  }, needs);

  it("counts among the container's processes", async () => {
    // As many as a runtime's own threads take while it executes one.
    const task = await startWith("exec", specOf(["sleep", "60"], { settings: { pids: 20 } }));
    const process = await exec(task, ["sh", "-c", "for i in $(seq 40); do sleep 5 & done; wait"]);
    const { stderr, exit } = await outcome(process);
    assert.match(stderr, /can't fork/);
    assert.notEqual(exit.code, 0);
    assert.equal(task.status, "running");
  }, { ...needs, limits: true });

  it("tells of it", async () => {
    const options = specOf(["sleep", "60"]);
    const events = await f.eventsOf(options.id, async () => {
      const task = await startWith("exec", options);
      const process = await task.exec({ id: "one", process: processOf(["sh", "-c", "exit 4"]) });
      await process.wait();
      await process.delete();
      await task.delete();
    });
    const names = events.map((event) => `${event.type} ${"process" in event ? event.process ?? "" : ""}`.trim());
    assert.deepEqual(names, ["create", "start", "exec-added one", "exec-started one", "exit one", "exit", "delete"]);
    const exit = events[4];
    assert.ok(exit?.type === "exit" && exit.exit.code === 4);
  }, needs);
}
