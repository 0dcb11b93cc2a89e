import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { configJson } from "../../runtimes/oci/config_json.ts";
import { Keepers } from "../../runtimes/oci/keeper.ts";
import { keeperX64 } from "../../runtimes/oci/keeper_x64.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { specFor } from "./native_runtime.ts";

const host = await currentHost();
const kernel = new Kernel(host);

describe("a keeper", { skip: host.arch === "x64" ? false : "it is for x86-64" }, () => {
  it("is what the assembly makes", () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-keeper-"));
    try {
      const source = new URL("../../runtimes/oci/keeper_x64.s", import.meta.url).pathname;
      execFileSync("as", ["-o", join(folder, "keeper.o"), source]);
      execFileSync("objcopy", ["-O", "binary", "-j", ".text", join(folder, "keeper.o"), join(folder, "keeper")]);
      assert.equal(Buffer.compare(keeperX64, readFileSync(join(folder, "keeper"))), 0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("tells how a command ended, and what it left behind", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-keeper-"));
    const children = new Children(kernel);
    using keepers = new Keepers(kernel, children);
    try {
      const orphans = [
        { script: "exit 5", code: 5, signal: undefined },
        { script: "kill -9 $$", code: 137, signal: 9 },
      ];
      for (const { script, code, signal } of orphans) {
        const pidFile = join(folder, "pid");
        const go = join(folder, "go");
        execFileSync("mkfifo", [go]);
        const orphan = `sh -c 'echo $$ > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; read x < ${go}; ${script}'`;
        const command = `${orphan} & while [ ! -e ${pidFile} ]; do sleep 0.01; done; exit 3`;
        const keeper = keepers.start({
          args: ["/bin/sh", "-c", command],
          stdio: [undefined, undefined, undefined],
          prepare: [],
        });
        assert.equal((await keeper.command).code, 3);
        writeFileSync(go, "\n");
        const exit = await keeper.exit(Number(readFileSync(pidFile, "utf8")));
        assert.deepEqual([exit.code, exit.signal], [code, signal]);
        await keeper.end();
        for (const file of [pidFile, go]) rmSync(file);
      }
      const lost = keepers.start({
        args: ["/bin/sleep", "60"],
        stdio: [undefined, undefined, undefined],
        prepare: [{ syscall: "prctl", args: [1, 9, 0, 0, 0], why: "die with this process" }],
      });
      await lost.end();
      await assert.rejects(lost.command);
      execFileSync("sh", ["-c", `kill -9 $(pgrep -s ${lost.pid}) 2>/dev/null; true`]);
    } finally {
      children.close();
      rmSync(folder, { recursive: true });
    }
  });
});

describe("configJson()", () => {
  it("writes 64-bit numbers exactly", () => {
    const spec = specFor(["true"]);
    const changed = {
      ...spec,
      process: { ...spec.process, rlimits: [{ type: "RLIMIT_NOFILE", soft: 1, hard: 2 ** 64 }] },
      annotations: { value: "12" },
      linux: {
        ...spec.linux,
        seccomp: {
          defaultAction: "SCMP_ACT_ALLOW" as const,
          syscalls: [{
            names: ["read"],
            action: "SCMP_ACT_ERRNO" as const,
            args: [{ index: 0, value: "9007199254740993", op: "SCMP_CMP_EQ" as const }],
          }],
        },
      },
    };
    const text = configJson(changed);
    assert.ok(text.includes('"hard":18446744073709551615'));
    assert.ok(text.includes('"value":9007199254740993'));
    assert.ok(text.includes('"annotations":{"value":"12"}'));
  });

  it("is the same as JSON where no number is large", () => {
    const { seccomp: _, ...linux } = specFor(["true"]).linux;
    const spec = { ...specFor(["true"]), linux };
    assert.equal(configJson(spec), JSON.stringify(spec));
  });
});
