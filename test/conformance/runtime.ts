/*
 * The validation programs of OCI runtime-tools against `mayfly oci`, on the host that runs this:
 * `npm run conformance:runtime [programs…]`. Another runtime is judged with `RUNTIME=/usr/sbin/runc`.
 *
 * They are Go, from the Go module proxy: Debian has their library, and not all that the programs need. What they find
 * that is not ours to mend is listed below; a program that does better or worse than it says is a failure.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../../src/host/mod.ts";

const version = "v0.9.0";
const folder = join(tmpdir(), "mayfly-runtime-tools");
const limitMs = 60_000;

/** What fails, and why that is right: on a machine with cgroups v1 and without AppArmor and SELinux. */
const differences: Readonly<Record<string, string>> = {
  delete: "kills what is created and not started, as runc does: the specification's later text allows it",
  hooks: "the program compares with words that its own hooks do not write",
  hooks_stdin: "the program takes ociVersion for the pid, and the status of before 1.1",
  linux_cgroups_blkio: "the kernel has no blkio.leaf_weight since 5.0",
  linux_cgroups_hugetlb: "the machine has no hugetlb controller",
  linux_cgroups_memory: "the kernel keeps no limit of kernel memory since 5.16",
  linux_cgroups_network: "the machine has no net_cls controller",
  linux_cgroups_relative_blkio: "as linux_cgroups_blkio",
  linux_cgroups_relative_hugetlb: "as linux_cgroups_hugetlb",
  linux_cgroups_relative_memory: "as linux_cgroups_memory",
  linux_cgroups_relative_network: "as linux_cgroups_network",
  linux_mount_label: "the kernel has no SELinux",
  linux_ns_itype: "a container without a mount namespace of its own would change the host's mounts: it is refused",
  linux_process_apparmor_profile: "the kernel has no AppArmor",
  linux_rootfs_propagation: "it wants CAP_SYS_RESOURCE, which the machine does not give",
  misc_props: "the program forgets to put its command into the image",
  mounts: "binds are cloned before the root is entered, and /proc/self/mountinfo lists by age",
  pidfile: "the program kills a container that has ended",
  poststart_fail: "a poststart hook that fails stops the container: the specification has it so since 1.1",
  prestart: "the program wants prestart hooks behind start: they run at create",
  process_capabilities: "it wants CAP_SYS_RESOURCE, which the machine does not give",
  process_rlimits: "it wants a limit of open files that its own Go runtime has raised",
  start: "the program starts a container without a process, whose configuration is none",
};

function go(args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): string {
  const options = { cwd, env: { ...process.env, GOFLAGS: "-mod=mod", ...env }, encoding: "utf8" } as const;
  return execFileSync("go", args, options);
}

/** Fetches and builds the programs, once. @returns the folder that they run in. */
function build(): string {
  const source = join(folder, "src");
  if (existsSync(join(source, "runtimetest"))) return source;
  mkdirSync(join(folder, "bin"), { recursive: true });
  go(["mod", "init", "fetch"], folder);
  const told = go(["mod", "download", "-json", `github.com/opencontainers/runtime-tools@${version}`], folder);
  cpSync(JSON.parse(told).Dir, source, { recursive: true });
  execFileSync("chmod", ["-R", "u+w", source]);
  go(["mod", "init", "github.com/opencontainers/runtime-tools"], source);
  go(["mod", "edit", "-require", "github.com/opencontainers/runtime-spec@v1.0.2"], source);
  go(["mod", "edit", "-require", "github.com/opencontainers/selinux@v1.8.0"], source);
  go(["build", "-o", `${join(folder, "bin")}/`, "./validation/..."], source);
  go(["build", "-o", "runtimetest", "./cmd/runtimetest"], source, { CGO_ENABLED: "0" });
  chmodSync(join(source, "runtimetest"), 0o755);
  return source;
}

const { name } = await currentHost();
const runtime = process.env["RUNTIME"] ?? fileURLToPath(new URL("../../src/mayfly-oci", import.meta.url));
const own = process.env["RUNTIME"] === undefined;
const source = build();
const chosen = process.argv.slice(2);
const listed = () =>
  spawnSync(runtime, ["list", "-q"], { env: { ...process.env, MAYFLY_HOST: name }, encoding: "utf8" }).stdout.split(
    "\n",
  );
const before = new Set(listed());
let [points, surprises] = [0, 0];
for (const program of readdirSync(join(folder, "bin")).sort()) {
  if (chosen.length > 0 && !chosen.includes(program)) continue;
  const { status, stdout, stderr } = spawnSync(join(folder, "bin", program), {
    cwd: source,
    env: { ...process.env, RUNTIME: runtime, MAYFLY_HOST: name },
    encoding: "utf8",
    timeout: limitMs,
    maxBuffer: 64 << 20,
  });
  const count = (pattern: RegExp) => stdout.match(pattern)?.length ?? 0;
  const [passed, failed] = [count(/^ok /gm), count(/^not ok /gm)];
  // Some say what is wrong beside their points; those named `…_fail` want the runtime to refuse.
  const said = /^ {4}"error": "(?!exit status)/m.test(stdout) && passed === 0;
  const good = status === 0 && failed === 0 && !said;
  const reason = own ? differences[program] : undefined;
  points += passed;
  if (good !== (reason === undefined)) surprises++;
  const verdict = good ? "passes" : "fails";
  console.log(`${program.padEnd(32)}${verdict} (${passed} points, ${failed} not)${reason ? `: ${reason}` : ""}`);
  if (!good && reason === undefined) console.log(`${stdout.slice(-2000)}${stderr.slice(-2000)}`);
}
// Some programs leave a container behind where they fail.
for (const id of listed().filter((line) => !before.has(line))) {
  spawnSync(runtime, ["delete", "--force", id], { env: { ...process.env, MAYFLY_HOST: name } });
}
console.log(`${points} points, ${surprises} programs other than listed, ${name}`);
process.exitCode = surprises === 0 ? 0 : 1;
