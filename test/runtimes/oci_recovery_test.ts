import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { sameHost } from "../support/same_host.ts";
import { until } from "../support/until.ts";
import { busyboxRootfs, cgroupsOf, hasCgroups, specFor } from "./native_runtime.ts";
import { ociRuntimeOf } from "./oci_runtime.ts";

describe("OciRuntime", { skip: process.geteuid?.() === 0 ? false : "it takes root" }, () => {
  for (const name of ["crun", "runc"]) {
    it(`recover() removes what a killed daemon left with ${name}, and no more`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "mayfly-oci-"));
      const cgroupParent = `/mayfly-test-${process.pid}-recover-${name}`;
      try {
        makeBusyboxRoot(join(folder, "root"));
        const script = fileURLToPath(new URL("./oci_daemon.ts", import.meta.url));
        const [program, ...args] = await sameHost(script);
        const daemon = spawn(program, [...args, name, folder, cgroupParent, "3"], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const [line] = await once(daemon.stdout, "data");
        const pids = String(line).trim().split(" ").map(Number);
        assert.equal(pids.length, 3);
        const ended = once(daemon, "exit");
        daemon.kill("SIGKILL");
        await ended;
        const runtime = await ociRuntimeOf(name, join(folder, "oci"), cgroupParent);
        const own = await runtime.create({
          id: "own",
          spec: specFor(["sleep", "60"]),
          rootfs: busyboxRootfs(join(folder, "root")),
        });
        await own.start();
        assert.deepEqual([...await runtime.recover()].sort(), ["killed-0", "killed-1", "killed-2"]);
        assert.deepEqual(await runtime.recover(), []);
        assert.equal(own.status, "running");
        await until(() => Promise.resolve(pids.every(isGone)));
        assert.equal((await own.delete())?.signal, 9);
        for (const name of ["state", "tasks"]) assert.deepEqual(readdirSync(join(folder, "oci", name)), []);
        assert.deepEqual(cgroupsOf(cgroupParent), []);
        await runtime[Symbol.asyncDispose]();
        assert.equal(hasCgroups(cgroupParent), false);
        assert.ok(!readFileSync("/proc/self/mounts", "utf8").includes(folder));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});

/** Whether a process has ended; who adopted it may take its time to look. */
function isGone(pid: number): boolean {
  try {
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}
