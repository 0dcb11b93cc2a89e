import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { DetachedContainer, DetachedOptions } from "../../src/core/detached.ts";
import type { Spec, SpecProcess } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import * as f from "../../src/linux/flags.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { until } from "../support/until.ts";
import { removeCgroups, specFor } from "./native_runtime.ts";

const host = await currentHost();
const kernel = new Kernel(host);
const isRoot = process.geteuid?.() === 0;
const program = fileURLToPath(new URL("./native_command.ts", import.meta.url));
let count = 0;

interface Answer {
  readonly pid: number;
  readonly code?: string | number;
  readonly message?: string;
}

type Options = DetachedOptions & { readonly pid?: number; readonly process?: SpecProcess; readonly wait?: boolean };

describe("NativeDetached", { skip: isRoot ? false : "it takes root" }, () => {
  const parent = `/mayfly-test-${process.pid}-detached`;
  const made: DetachedContainer[] = [];
  let folder: string;
  let cgroups: Cgroups;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-detached-"));
    makeBusyboxRoot(join(folder, "root"));
    cgroups = new Cgroups(kernel, detectLayout(kernel));
  });

  after(async () => {
    for (const { cgroupPath } of made) {
      const cgroup = cgroups.open(cgroupPath);
      await cgroup.kill();
      await cgroup.remove();
    }
    cgroups[Symbol.dispose]();
    removeCgroups(parent);
    rmSync(folder, { recursive: true, force: true });
  });

  function containerOf(args: readonly string[], changes: Partial<Spec> = {}): DetachedContainer {
    const id = `d${count++}`;
    const container = {
      id,
      bundle: folder,
      spec: { ...specFor(args), ...changes },
      root: join(folder, "root"),
      folder: join(folder, id),
      cgroupPath: `${parent}/${id}`,
    };
    mkdirSync(container.folder);
    made.push(container);
    return container;
  }

  /** Runs a command in a process of its own, which is gone when this returns. */
  function command(
    name: "create" | "start" | "exec",
    container: DetachedContainer,
    options: Options = {},
    redirections = "",
  ) {
    const output = join(folder, `output-${count++}`);
    const answer = join(folder, `answer-${count++}`);
    const out = openSync(output, "w");
    const runtime = host.name === "deno" ? [process.execPath, "run", "-A", "--no-check"] : [process.execPath];
    const words = [...runtime, program, name, JSON.stringify(container), JSON.stringify(options)];
    // A shell opens descriptors of exact numbers; the hosts do not all hand them on.
    const result = spawnSync("/bin/sh", ["-c", `exec "$@" ${redirections}`, "sh", ...words], {
      stdio: ["ignore", out, out],
      env: { ...process.env, ANSWER: answer },
      timeout: 30_000,
    });
    closeSync(out);
    const text = readFileSync(answer, "utf8");
    assert.ok(text !== "", `${name}: ${result.status} ${result.signal} ${readFileSync(output, "utf8")}`);
    return { answer: JSON.parse(text) as Answer, output };
  }

  const isThere = (pid: number) => {
    try {
      return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
    } catch {
      return false;
    }
  };
  const written = (path: string, text: RegExp) => until(() => text.test(readFileSync(path, "utf8")));

  it("creates in one process and starts in another", async () => {
    const container = containerOf(["sh", "-c", "echo $$; exec sleep 600"]);
    const { answer: { pid, message }, output } = command("create", container);
    assert.equal(message, undefined);
    assert.ok(isThere(pid));
    assert.notEqual(readlinkSync(`/proc/${pid}/ns/pid`), readlinkSync("/proc/self/ns/pid"));
    assert.equal(readFileSync(output, "utf8"), "");
    assert.deepEqual(command("start", container).answer, {});
    await written(output, /^1\n$/);
    assert.equal(readFileSync(`/proc/${pid}/cmdline`, "utf8"), "sleep\0" + "600\0");
    assert.match(command("start", container).answer.message ?? "", /was started before/);
    kernel.call("kill", pid, f.SIGKILL);
    await until(() => !isThere(pid));
    assert.match(command("start", container).answer.message ?? "", /its process is gone/);
  });

  it("tells from the start what went wrong in the process that was created before", async () => {
    const container = containerOf(["nonesuch"]);
    const { answer: { pid } } = command("create", container);
    assert.ok(isThere(pid));
    const { answer } = command("start", container);
    assert.equal(answer.code, "not_found");
    assert.match(answer.message ?? "", /^cannot start container "d\d+": command "nonesuch" is not in the image/);
    await until(() => !isThere(pid));
  });

  it("tells from the creation what went wrong, and leaves no process", () => {
    const mounts = [{ destination: "/x", type: "nofs", source: "nofs" }];
    const container = containerOf(["true"], { mounts });
    const { answer } = command("create", container);
    assert.match(answer.message ?? "", /^cannot create container "d\d+": mount nofs on "\/x": no such device$/);
    assert.equal(cgroups.open(container.cgroupPath).folders.size, 0);
  });

  it("executes beside it, waits for the end, and goes without it", async () => {
    const container = containerOf(["sleep", "600"]);
    const { answer: { pid } } = command("create", container);
    command("start", container);
    const { process: base } = specFor(["true"]);
    const run = command("exec", container, {
      pid,
      process: { ...base, args: ["sh", "-c", "cat /proc/1/cmdline; exit 9"] },
      wait: true,
    });
    assert.equal(run.answer.code, 9);
    assert.equal(readFileSync(run.output, "utf8"), "sleep\0" + "600\0");
    const left = command("exec", container, { pid, process: { ...base, args: ["sleep", "500"] } });
    assert.ok(isThere(left.answer.pid));
    assert.equal(command("exec", container, { pid: 0x7fff_ffff, process: base }).answer.code, "failed_precondition");
    kernel.call("kill", pid, f.SIGKILL);
    await until(() => !isThere(left.answer.pid));
  });

  it("keeps the descriptors that it is asked to", async () => {
    const kept = join(folder, "kept");
    const container = containerOf(["sh", "-c", "ls /proc/$$/fd; echo x >&4"]);
    const { answer, output } = command("create", container, { preserved: 2 }, `3>${kept} 4>&3`);
    assert.equal(answer.message, undefined);
    command("start", container);
    await written(kept, /x/);
    await written(output, /^0\n1\n2\n3\n4\n/);
    assert.equal(command("create", containerOf(["true"]), { preserved: 40 }).answer.code, "invalid_argument");
  });

  it("sends the terminal to the console socket, whatever its path is", async () => {
    for (const name of ["short", "long".repeat(30)]) {
      mkdirSync(join(folder, name));
      const path = join(folder, name, "console");
      const [socket, master] = [listen(path), { out: "control", size: 64 }];
      const spec = specFor(["sh", "-c", "tty; read x; echo got $x; sleep 600"]);
      const container = containerOf(["sh"], { ...spec, process: { ...spec.process, terminal: true } });
      const { answer } = command("create", container, { consoleSocket: path });
      assert.equal(answer.message, undefined);
      const results = kernel.run([
        { syscall: "accept4", args: [socket, 0, 0, f.SOCK_CLOEXEC], store: "connection", why: "accept" },
        {
          syscall: "recvmsg",
          args: [{ ref: "connection" }, [0, 0, [{ out: "name", size: 64 }, 64], 1, master, 64, 0], f.MSG_CMSG_CLOEXEC],
          why: "receive",
        },
        { syscall: "close", args: [{ ref: "connection" }], why: "close" },
        { syscall: "close", args: [socket], why: "close" },
      ]);
      const fd = results.int32("control", 16);
      command("start", container);
      kernel.call("write", fd, "hi\n", 3);
      let text = "";
      const buffer = kernel.buffer(256);
      while (!text.includes("got hi")) {
        const length = kernel.call("read", fd, buffer.address, 256);
        text += new TextDecoder().decode(buffer.bytes.slice(0, length));
      }
      assert.match(text, /\/dev\/pts\/0\r\n/);
      kernel.call("close", fd);
    }
    const bare = containerOf(["true"]);
    assert.equal(command("create", bare, { consoleSocket: "/nowhere" }).answer.code, "invalid_argument");
  });

  it("leaves the root without pivot_root where that is asked for", async () => {
    const container = containerOf(["sh", "-c", "ls /; exec sleep 600"]);
    const { output } = command("create", container, { pivot: false });
    command("start", container);
    await written(output, /^bin\n/);
  });

  it("maps the ids of a bind mount", async () => {
    const ids = [{ containerID: 0, hostID: 5000, size: 1 }];
    const mounts = [
      ...specFor(["true"]).mounts ?? [],
      {
        destination: "/mapped",
        source: join(folder, "root"),
        options: ["bind", "idmap"],
        uidMappings: ids,
        gidMappings: ids,
      },
    ];
    const links = "for fd in /proc/self/fd/*; do readlink $fd; done";
    const script = `stat -c %u:%g /mapped/bin; ${links} | grep -c user:; exec sleep 600`;
    const container = containerOf(["sh", "-c", script], { mounts });
    const { answer: { pid, message }, output } = command("create", container);
    assert.equal(message, undefined);
    assert.deepEqual(command("start", container).answer, {});
    await written(output, /^5000:5000\n0\n$/);
    kernel.call("kill", pid, f.SIGKILL);
  });

  it("runs the hooks of a creation and of a start", () => {
    const log = join(folder, "hooks");
    const sh = (script: string) => [{ path: "/bin/sh", args: ["sh", "-c", script] }];
    const inside = sh("test $(ls / | wc -l) -lt 15 || exit 4; exit 5");
    const hooks = {
      createRuntime: sh(`echo create >> ${log}`),
      startContainer: inside,
      poststop: sh(`echo stop >> ${log}`),
    };
    const container = containerOf(["true"], { hooks });
    const { answer } = command("create", container);
    assert.equal(answer.message, undefined);
    const started = command("start", container).answer;
    assert.match(started.message ?? "", /startContainer\[0\].*ended with status 5/);
    const failing = containerOf(["true"], { hooks: { ...hooks, createContainer: sh("exit 6") } });
    assert.match(command("create", failing).answer.message ?? "", /createContainer\[0\].*ended with status 6/);
    assert.equal(readFileSync(log, "utf8"), "create\ncreate\nstop\n");
  });

  /** Listens on a path that may be longer than an address takes. */
  function listen(path: string): number {
    const parts = path.split("/");
    const folderFd = kernel.call("openat", f.AT_FDCWD, parts.slice(0, -1).join("/"), f.O_PATH | f.O_CLOEXEC, 0);
    const name = new TextEncoder().encode(`/proc/self/fd/${folderFd}/${parts.at(-1)}`);
    const address = new Uint8Array([f.AF_UNIX, 0, ...name, 0]);
    const socket = kernel.call("socket", f.AF_UNIX, f.SOCK_STREAM | f.SOCK_CLOEXEC, 0);
    kernel.call("bind", socket, address, address.length);
    kernel.call("listen", socket, 1);
    kernel.call("close", folderFd);
    return socket;
  }
});
