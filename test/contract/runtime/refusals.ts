import assert from "node:assert/strict";
import { codeOf, type ErrorCode } from "../../../src/core/errors.ts";
import type { Changes, Fixture } from "./fixture.ts";

/** What a spec cannot ask for. */
export function refusals(f: Fixture): void {
  const { it, sh } = f;
  const table: readonly (readonly [field: string, changes: Changes, code: ErrorCode])[] = [
    ["CAP_NONE", { process: { capabilities: { bounding: ["CAP_NONE"] } } }, "invalid_argument"],
    ["RLIMIT_NONE", { process: { rlimits: [{ type: "RLIMIT_NONE", soft: 1, hard: 1 }] } }, "invalid_argument"],
    ["RLIMIT_CORE", { process: { rlimits: [{ type: "RLIMIT_CORE", soft: 2, hard: 1 }] } }, "invalid_argument"],
    ["kernel.panic", { linux: { sysctl: { "kernel.panic": "1" } } }, "invalid_argument"],
    ["mount", {
      linux: { namespaces: (["pid", "ipc", "uts", "network", "cgroup"] as const).map((type) => ({ type })) },
    }, "invalid_argument"],
    ["hostname", { linux: { namespaces: [{ type: "mount" }] }, spec: { mounts: [] } }, "invalid_argument"],
    ["/no/such/source", {
      spec: { mounts: [{ destination: "/x", type: "bind", source: "/no/such/source" }] },
    }, "invalid_argument"],
    ["cgroupsPath", { linux: { cgroupsPath: "/../x" } }, "invalid_argument"],
  ];
  for (const [field, changes, wanted] of table) {
    it(`create() names ${field}`, async () => {
      await assert.rejects(f.runtime.create(sh("true", changes)), (error: unknown) => {
        assert.equal(codeOf(error), wanted, String(error));
        assert.ok(String(error).includes(field), String(error));
        return true;
      });
    });
  }
}
