import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import { FeaturesSchema } from "../../src/core/features.ts";
import { parseMountOptions } from "../../src/linux/mount/options.ts";
import { compileSeccomp, seccompFlags } from "../../src/linux/seccomp.ts";
import { nativeFeatures } from "../../runtimes/native/features.ts";
import { sameHost } from "../support/same_host.ts";

/* What the JSON schema of the specification 1.2 takes (`features-linux.json`, `defs-linux.json`), name by name. */

const words = (text: string) => text.trim().split(/\s+/);
const oneOf = (text: string) => v.array(v.picklist(words(text)));
const prefixed = (prefix: string, text: string) => oneOf(words(text).map((word) => prefix + word).join(" "));
const enabled = v.strictObject({ enabled: v.boolean() });

const Published = v.strictObject({
  ociVersionMin: v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+/)),
  ociVersionMax: v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+/)),
  hooks: v.array(v.string()),
  mountOptions: v.array(v.string()),
  annotations: v.record(v.string(), v.string()),
  linux: v.strictObject({
    namespaces: oneOf("mount pid network uts ipc user cgroup time"),
    capabilities: v.array(v.pipe(v.string(), v.regex(/^CAP_[A-Z_]+$/))),
    cgroup: v.strictObject({
      v1: v.boolean(),
      v2: v.boolean(),
      systemd: v.boolean(),
      systemdUser: v.boolean(),
      rdma: v.optional(v.boolean()),
    }),
    seccomp: v.strictObject({
      enabled: v.boolean(),
      actions: prefixed("SCMP_ACT_", "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY"),
      operators: prefixed("SCMP_CMP_", "NE LT LE EQ GE GT MASKED_EQ"),
      archs: prefixed(
        "SCMP_ARCH_",
        "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X " +
          "PARISC PARISC64 RISCV64",
      ),
      knownFlags: v.optional(prefixed("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV")),
      supportedFlags: v.optional(prefixed("SECCOMP_FILTER_FLAG_", "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV")),
    }),
    apparmor: v.optional(enabled),
    selinux: v.optional(enabled),
    intelRdt: v.optional(enabled),
    mountExtensions: v.optional(v.strictObject({ idmap: enabled })),
  }),
});

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const [command = "", ...first] = await sameHost(main);
const told = JSON.parse(execFileSync(command, [...first, "oci", "features"], { encoding: "utf8" }));

describe("mayfly oci features", () => {
  it("is what the specification's schema takes, as runc's is", () => {
    v.parse(Published, told);
    v.parse(FeaturesSchema, told);
    const runc = JSON.parse(execFileSync("runc", ["features"], { encoding: "utf8" }));
    v.parse(Published, runc);
    v.parse(FeaturesSchema, runc);
  });

  it("names all that the specification has, but for what is refused", () => {
    const { namespaces, seccomp, intelRdt } = told.linux;
    assert.deepEqual(namespaces, words("cgroup ipc mount network pid time user uts"));
    assert.deepEqual(told.hooks, words("prestart createRuntime createContainer startContainer poststart poststop"));
    assert.equal(intelRdt.enabled, false);
    assert.ok(!seccomp.actions.includes("SCMP_ACT_NOTIFY"));
    assert.equal(seccomp.actions.length, 8);
    assert.equal(seccomp.operators.length, 7);
    assert.equal(told.linux.capabilities.length, 41);
  });

  it("names what is taken: every mount option, action and flag", () => {
    for (const option of told.mountOptions) assert.deepEqual(parseMountOptions([option]).data, [], option);
    for (const defaultAction of told.linux.seccomp.actions) compileSeccomp({ defaultAction }, "x64");
    assert.ok(seccompFlags({ defaultAction: "SCMP_ACT_ALLOW", flags: told.linux.seccomp.supportedFlags }) > 0);
  });

  it("names the processor's own architecture", () => {
    assert.deepEqual(nativeFeatures("x64").linux?.seccomp?.archs, ["SCMP_ARCH_X86_64"]);
    assert.deepEqual(nativeFeatures("arm64").linux?.seccomp?.archs, ["SCMP_ARCH_AARCH64"]);
  });
});
