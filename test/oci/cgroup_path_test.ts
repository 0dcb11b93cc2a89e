import assert from "node:assert/strict";
import { it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { cgroupPathOf } from "../../src/oci/cgroup_path.ts";
import { specFor } from "../runtimes/native_runtime.ts";

const spec = specFor(["true"]);
const at = (cgroupsPath: string) => ({ ...spec, linux: { ...spec.linux, cgroupsPath } });

const paths: readonly (readonly [cgroupsPath: string, systemd: boolean, path: string])[] = [
  ["", false, "/mayfly-oci/x"],
  ["/libpod_parent/libpod-1", false, "/libpod_parent/libpod-1"],
  ["below/x", false, "/mayfly-oci/below/x"],
  ["machine.slice:libpod:1", true, "/machine.slice/libpod-1.scope"],
  ["user-1000-a.slice:cri:1", true, "/user.slice/user-1000.slice/user-1000-a.slice/cri-1.scope"],
  [":runc:1", true, "/system.slice/runc-1.scope"],
  ["/plain", true, "/plain"],
];
for (const [cgroupsPath, systemd, path] of paths) {
  it(`cgroupPathOf() ${JSON.stringify(cgroupsPath)}${systemd ? " of systemd" : ""} is ${path}`, () => {
    assert.equal(cgroupPathOf("x", at(cgroupsPath), systemd), path);
  });
}

it("cgroupPathOf() refuses what leads out", () => {
  for (const [path, systemd] of [["/../x", false], ["a.slice:b:../../x", true], ["a:b:c", false]] as const) {
    assert.throws(() => cgroupPathOf("x", at(path), systemd), (error) => codeOf(error) === "invalid_argument");
  }
});
