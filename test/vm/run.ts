/**
 * Runs tests in a virtual machine with what this one may lack: cgroup v2 alone, with every controller, and a kernel on which
 * root has all its rights: `node test/vm/run.ts [hosts…] [files or folders…]`. The output is that of the tests' own command.
 *
 * The machine is Debian's kernel, fetched and unpacked, never installed, on this machine's files, which it cannot change.
 * `MAYFLY_VM_KERNEL` names another kernel package, `MAYFLY_VM_LIMIT_S` another limit than twenty minutes.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { lacking } from "../support/requirements.ts";
import { initramfs } from "./initramfs.ts";
import { fetchKernel, readModules } from "./kernel.ts";
import { emulated, greeting, runMachine } from "./machine.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What such a machine decides about; any other test may be named. Those that hold answers to moments want KVM. */
const usual = ["test/linux/cgroup", "test/runtimes/native_test.ts", "test/tasks/tasks_test.ts"];

/** Modules that the machine is made of, and those that containers use. */
const modules = ["virtio_pci", "virtio_console", "virtiofs", "overlay", "loop", "veth", "bridge", "btrfs"];

/**
 * Tests wait as long for an emulated processor. It ends or hangs a program that is not at fault now and then, so that a
 * file that failed there is run again, and has four minutes for each attempt.
 */
const patience = 10;

/** The first process, on this machine's files. Kept free of what needs another program than a shell and mount. */
function inside(args: readonly string[]): string {
  const quoted = args.map((arg) => `'${arg.replaceAll("'", `'\\''`)}'`).join(" ");
  return `
exec </dev/null >/dev/hvc0 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/vm-tmp CI=$CI
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /dev/mqueue /vm-tmp
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777,size=50% tmp /vm-tmp
ip link set lo up 2>/dev/null || /bin/busybox ip link set lo up
echo '${greeting}': $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers)
cd '${root}'
case $(cat /proc/cmdline) in
*${emulated}*)
  export NODE_OPTIONS='--import=${join(root, "test/vm/interpreted.ts")}'
  export DENO_V8_FLAGS=--no-opt,--no-maglev,--no-sparkplug,--regexp-interpret-all
  export MAYFLY_TEST_ATTEMPTS=3 MAYFLY_TEST_FILE_LIMIT_S=240
  ;;
esac
# A signal ends what runs the tests as well, now and then.
for attempt in 1 2 3; do
  MAYFLY_TEST_PATIENCE=${patience} node_modules/.bin/node test/support/run.ts ${quoted}
  [ $? -lt 128 ] && break
done
sync
/bin/busybox reboot -f
`;
}

const reasons = lacking();
if (reasons.length > 0) {
  for (const reason of reasons) console.error(reason);
  console.log("0 passed, 1 failed");
  process.exit(1);
}

const words = process.argv.slice(2);
const hosts = words.filter((word) => ["node", "deno", "bun"].includes(word));
const files = words.filter((word) => !hosts.includes(word));
const cache = join(root, "node_modules/.cache/mayfly-vm");
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), "mayfly-vm-"));
const started = Date.now();
const interrupted = new AbortController();
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  process.once(signal, () => interrupted.abort(new Error(`the virtual machine was stopped by ${signal}`)));
}
let last = "";
try {
  const kernel = fetchKernel(cache);
  const accelerator = await runMachine({
    folder,
    kernel: kernel.image,
    initramfs: initramfs(
      readModules(kernel, modules),
      inside([...hosts.length > 0 ? hosts : ["node"], ...files.length > 0 ? files : usual]),
    ),
    memoryMb: 3072,
    processors: 2,
    limitMs: Number(process.env["MAYFLY_VM_LIMIT_S"] ?? 1200) * 1000,
    signal: interrupted.signal,
    onOutput(text) {
      const clean = text.replaceAll("\r", "");
      last = (last + clean).slice(-200);
      process.stdout.write(clean);
    },
  });
  console.error(`${kernel.name}, ${accelerator}, ${((Date.now() - started) / 1000).toFixed(0)} s`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
const counts = /(\d+) passed, (\d+) failed[^\n]*\n$/.exec(last);
if (counts === null) console.log("0 passed, 1 failed");
process.exit(counts === null || counts[2] !== "0" ? 1 : 0);
