import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, globSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** What the inside says first. */
export const greeting = "the virtual machine is up";

/** A word of the kernel's command line, for an inside that minds. */
export const emulated = "mayfly.emulated";

export interface MachineOptions {
  /** Holds sockets and logs, and is the caller's to remove. */
  readonly folder: string;
  readonly kernel: string;
  readonly initramfs: Uint8Array;
  readonly memoryMb: number;
  readonly processors: number;
  /** How long it may run, from its start to its end. */
  readonly limitMs: number;
  /** Ends it, and `runMachine` with its reason. */
  readonly signal: AbortSignal;
  /** Takes what the inside writes to /dev/hvc0. */
  readonly onOutput: (text: string) => void;
}

/** How long a machine may take until its inside speaks. */
const bootLimitMs = 120_000;

export type Accelerator = "kvm" | "tcg";

/**
 * Runs a virtual machine to its end, with this machine's files under /, read only. KVM is used where it works, emulation
 * where it does not.
 * @throws when it does not come up, or takes too long.
 */
export async function runMachine(options: MachineOptions): Promise<Accelerator> {
  if (existsSync("/dev/kvm") && await attempt(options, "kvm")) return "kvm";
  // Emulated, a kernel hangs at its start now and then.
  if (await attempt(options, "tcg") || await attempt(options, "tcg")) return "tcg";
  const said = ["tcg.log", "console.log"].map((name) => readFileSync(join(options.folder, name), "utf8")).join("\n");
  throw new Error(`the virtual machine did not come up:\n${said.split("\n").slice(-40).join("\n")}`);
}

/** @returns whether it came up. */
async function attempt(options: MachineOptions, accelerator: Accelerator): Promise<boolean> {
  const { folder, kernel, memoryMb, processors, limitMs, signal, onOutput } = options;
  const path = (name: string) => join(folder, name);
  writeFileSync(path("initramfs"), options.initramfs);
  const log = openSync(path(`${accelerator}.log`), "w");

  const files = start([
    virtiofsd(),
    `--socket-path=${path("files.sock")}`,
    ...["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"],
  ], { stdio: ["ignore", log, log] });
  const machine = start([
    "qemu-system-x86_64",
    // QEMU 7.2 emulates AVX and BMI, which newer processors have, with faults that end V8 now and then.
    ...["-accel", accelerator, "-cpu", accelerator === "kvm" ? "host" : "Nehalem"],
    ...["-smp", String(processors), "-m", String(memoryMb), "-nodefaults", "-no-user-config", "-display", "none"],
    ...["-object", `memory-backend-memfd,id=memory,size=${memoryMb}M,share=on`, "-numa", "node,memdev=memory"],
    ...["-chardev", `socket,id=files,path=${path("files.sock")}`],
    ...["-device", "vhost-user-fs-pci,chardev=files,tag=machine"],
    ...["-serial", `file:${path("console.log")}`],
    ...["-chardev", "stdio,id=output,signal=off", "-device", "virtio-serial", "-device", "virtconsole,chardev=output"],
    ...["-kernel", kernel, "-initrd", path("initramfs"), "-no-reboot"],
    "-append",
    "console=ttyS0 panic=-1 loglevel=5 cgroup_no_v1=all random.trust_cpu=on mitigations=off" +
    (accelerator === "tcg" ? ` ${emulated}` : ""),
  ], { stdio: ["ignore", "pipe", "pipe"] });
  const ends = [ended(files), ended(machine)];

  let up = false;
  let late: string | undefined;
  const stop = (why: string) => {
    late ??= why;
    machine.kill("SIGKILL");
  };
  const interrupt = () => stop("it was interrupted");
  signal.addEventListener("abort", interrupt);
  if (signal.aborted) interrupt();
  const boot = setTimeout(() => stop("it did not come up in time"), bootLimitMs);
  const limit = setTimeout(() => stop(`it took longer than ${limitMs / 1000} s`), limitMs);
  machine.stderr?.on("data", (chunk) => {
    writeSync(log, chunk);
    // Where this machine is a virtual one itself, KVM may be there and not work: `kvm_pvm` runs kernels that are built for
    // it, and Debian's is none; QEMU fails at a register then (IA32_ARCH_CAPABILITIES), or the kernel never gets far.
    if (String(chunk).includes("KVM internal error")) stop("KVM does not work here");
  });
  machine.stdout?.setEncoding("utf8").on("data", (text: string) => {
    if (!up && text.includes(greeting)) {
      up = true;
      clearTimeout(boot);
    }
    if (up) onOutput(text);
  });
  try {
    await ends[1];
    signal.throwIfAborted();
    if (up && late !== undefined) throw new Error(`the virtual machine was stopped: ${late}`);
    return up;
  } finally {
    clearTimeout(boot);
    clearTimeout(limit);
    signal.removeEventListener("abort", interrupt);
    machine.kill("SIGKILL");
    files.kill("SIGKILL");
    await Promise.all(ends);
    closeSync(log);
  }
}

/** Starts a program that ends with this one, however this one ends. */
function start([program = "", ...args]: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], options);
}

/** Resolves when a program has ended, however. */
async function ended(child: ChildProcess): Promise<void> {
  await once(child, "close").catch((error) => {
    console.error(`cannot run ${child.spawnfile}: ${error.message}`);
  });
}

/** Where Debian has put it: with QEMU, or later in a package of its own. */
function virtiofsd(): string {
  const [found] = globSync("/usr/{lib/qemu,libexec}/virtiofsd");
  return found ?? "virtiofsd";
}
