import { Failure } from "../core/errors.ts";
import type { IdRange } from "../core/id_range.ts";
import { ArenaFull } from "./arena.ts";
import { fillHoles } from "./encode.ts";
import * as f from "./flags.ts";
import type { Kernel } from "./kernel.ts";
import type { Operation, Program } from "./program.ts";
import { headOf } from "./stage.ts";
import { makeStub } from "./stages.ts";
import { init } from "./stub/layout.ts";
import { syscallTable } from "./syscalls.ts";
import { enlarge, load } from "./template.ts";

/** Ids beside the user's own that are root's to give to others; 1 in the namespace is the first of each. */
export interface OtherIds {
  readonly uids: IdRange;
  readonly gids: IdRange;
  /** The programs that write maps of them, for who may not: newuidmap(1) and newgidmap(1). */
  readonly newuidmap: string;
  readonly newgidmap: string;
}

export interface BecomeRoot {
  readonly uid: number;
  readonly gid: number;
  /** Undefined where the user's own id is all there is. */
  readonly others: OtherIds | undefined;
  /** A process of the user's, in whose user namespace it is to be. Default: in a new one. */
  readonly beside?: number | undefined;
  /** What is executed as root: a path, and its arguments with its name. */
  readonly program: string;
  readonly args: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
}

const namespaces = f.CLONE_NEWUSER | f.CLONE_NEWNS;

/** What every container has, and what the kernel allows while nothing of the /proc that is seen is hidden. */
const mountProc: Operation = { syscall: "mount", args: ["proc", "/proc", "proc", 0, 0], why: "mount /proc" };

const trial: Program = [
  // A security module may let everybody make a namespace, and nobody use it.
  { syscall: "mount", args: [0, "/", 0, f.MS_REC | f.MS_SLAVE, 0], why: "use a user namespace" },
  mountProc,
  { syscall: "exit_group", args: [0], why: "end" },
];

/**
 * Tries what `becomeRoot` and its containers need.
 * @returns why it cannot be had, with the cure; undefined where it can.
 */
export function whyNoRoot(kernel: Kernel): { readonly reason: string; readonly cure: string } | undefined {
  try {
    const { pidfd } = kernel.spawn(trial, { flags: namespaces | f.CLONE_NEWPID });
    kernel.attempt("waitid", f.P_PIDFD, pidfd, 0, f.WEXITED, 0);
    kernel.attempt("close", pidfd);
    return undefined;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const { syscall, errno: name = "", details } = error;
    if (details?.["step"] === trial.indexOf(mountProc)) {
      const reason = `no /proc can be mounted in a user namespace (${name})`;
      return {
        reason,
        cure: "parts of the machine's are hidden: in a container, run that with --security-opt unmask=ALL",
      };
    }
    const reason = `no user namespace can be had (${syscall}: ${name})`;
    return { reason, cure: cures[name] ?? "use a kernel with CONFIG_USER_NS" };
  }
}

const forbidden = "sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0, " +
  "whichever is there; in a container, its seccomp profile has to allow unshare and mount";

const cures: Readonly<Record<string, string>> = {
  EPERM: forbidden,
  EACCES: forbidden,
  ENOSPC: "sysctl user.max_user_namespaces=15000",
  EUSERS: "sysctl user.max_user_namespaces=15000",
};

/**
 * Replaces this process by a program that is root in a user and a mount namespace of its own. Its id, standard streams and
 * parent stay as they are. A process with threads, as every JavaScript runtime has them, cannot make itself such a namespace:
 * it executes the init stub, which does, and then executes the program.
 * @throws what keeps the stub from being executed. What goes wrong behind that is told on the standard error.
 */
export function becomeRoot(kernel: Kernel, options: BecomeRoot): never {
  const stub = makeStub(kernel);
  const message = kernel.call("memfd_create", "program", f.MFD_CLOEXEC);
  write(kernel, message, restart(kernel.host.pid, options));
  kernel.run([
    // Node has its standard streams closed by what it executes.
    ...[0, 1, 2].map((fd): Operation => ({
      syscall: "fcntl",
      args: [fd, f.F_SETFD, 0],
      why: `keep descriptor ${fd}`,
      onError: "ignore",
    })),
    { syscall: "dup3", args: [message, init.control, 0], why: "hand on what is to be done as root" },
    {
      syscall: "execveat",
      args: [stub, "", ["mayfly", 0], [0], f.AT_EMPTY_PATH],
      why: "execute the init stub",
    },
  ]);
  throw new Failure("internal", "cannot become root: nothing was executed");
}

/** Lays out a message to the stub in a file. */
function write(kernel: Kernel, fd: number, program: Program): void {
  let arena = enlarge(kernel.host, undefined, init.memory + init.base);
  for (;;) {
    try {
      fillHoles(arena, load(program, arena, syscallTable(kernel.host.arch)).encoded, {});
      break;
    } catch (error) {
      if (!(error instanceof ArenaFull)) throw error;
      arena = enlarge(kernel.host, arena, init.memory + init.base);
    }
  }
  const head = headOf(arena.cursor, 0);
  kernel.call("write", fd, head, head.length);
  for (let at = 0; at < arena.cursor;) {
    at += kernel.call("write", fd, arena.memory.address + at, arena.cursor - at);
  }
  kernel.call("lseek", fd, 0, f.SEEK_SET);
}

function restart(pid: number, options: BecomeRoot): Program {
  const { beside, others, program, args, env } = options;
  const enter = beside !== undefined
    ? join(beside)
    : others === undefined
    ? mapOne(options)
    : mapMany(pid, options, others);
  const steps = [
    ...enter,
    { syscall: "close", args: [init.control], why: "close what is done" } as const,
    {
      syscall: "execve",
      args: [program, [...args, 0], [...env, 0]],
      why: `execute ${JSON.stringify(program)}`,
    } as const,
  ];
  return [...told(steps)];
}

/** Says on the standard error which step has failed. */
function* told(steps: readonly Operation[]): Generator<Operation> {
  for (const [index, step] of steps.entries()) {
    yield step.onError === undefined ? { ...step, onError: { goto: `failed:${index}` } } : step;
  }
  for (const [index, { why, onError }] of steps.entries()) {
    if (onError !== undefined) continue;
    const text = new TextEncoder().encode(`mayfly: cannot run as root of a user namespace: cannot ${why}\n`);
    yield { syscall: "write", args: [2, text, text.length], why, label: `failed:${index}`, onError: "ignore" };
    yield { syscall: "exit_group", args: [1], why };
  }
}

function* join(pid: number): Generator<Operation> {
  const path = `/proc/${pid}/ns/user`;
  const why = `join the user namespace of process ${pid}`;
  yield { syscall: "openat", args: [f.AT_FDCWD, path, f.O_RDONLY, 0], store: "namespace", why };
  yield { syscall: "setns", args: [{ ref: "namespace" }, f.CLONE_NEWUSER], why };
  yield { syscall: "close", args: [{ ref: "namespace" }], why };
  yield { syscall: "unshare", args: [f.CLONE_NEWNS], why: "make a mount namespace" };
  yield { syscall: "setresgid", args: [0, 0, 0], why };
  yield { syscall: "setresuid", args: [0, 0, 0], why };
}

const makeNamespaces: Operation = { syscall: "unshare", args: [namespaces], why: "make a user and a mount namespace" };

/** Maps root to the user itself, which everybody may do who lets go of setgroups(2). */
function* mapOne({ uid, gid }: BecomeRoot): Generator<Operation> {
  yield makeNamespaces;
  for (const [name, text] of [["setgroups", "deny"], ["uid_map", `0 ${uid} 1`], ["gid_map", `0 ${gid} 1`]] as const) {
    const why = `write ${JSON.stringify(text)} to /proc/self/${name}`;
    const bytes = new TextEncoder().encode(text);
    yield { syscall: "openat", args: [f.AT_FDCWD, `/proc/self/${name}`, f.O_WRONLY, 0], store: name, why };
    yield { syscall: "write", args: [{ ref: name }, bytes, bytes.length], why };
    yield { syscall: "close", args: [{ ref: name }], why };
  }
}

/** Has the maps written by a child that stays outside, and waits for it. */
function* mapMany(pid: number, { uid, gid }: BecomeRoot, others: OtherIds): Generator<Operation> {
  const { newuidmap, newgidmap, uids, gids } = others;
  const map = (own: number, { first, size }: IdRange) => `0 ${own} 1 1 ${first} ${size}`;
  const script = `${newuidmap} ${pid} ${map(uid, uids)} && exec ${newgidmap} ${pid} ${map(gid, gids)}`;
  const why = "have newuidmap and newgidmap map the ids of /etc/subuid and /etc/subgid: they are to be setuid, " +
    "and no_new_privs not set";
  yield { syscall: "pipe2", args: [{ out: "ready", size: 8 }, f.O_CLOEXEC], why };
  yield { syscall: "clone", args: [f.SIGCHLD, 0, 0, 0, 0], store: "child", why, onNonZero: { goto: "parent" } };
  yield { syscall: "close", args: [{ ref: "ready", at: 4 }], why };
  yield { syscall: "read", args: [{ ref: "ready" }, { out: "byte", size: 1 }, 1], why, onZero: { goto: "gone" } };
  yield { syscall: "close", args: [init.control], why };
  yield { syscall: "execve", args: ["/bin/sh", ["sh", "-c", script, 0], [0]], why };
  yield { syscall: "exit_group", args: [1], why, label: "gone" };
  yield { ...makeNamespaces, label: "parent" };
  yield { syscall: "write", args: [{ ref: "ready", at: 4 }, "r", 1], why };
  yield { syscall: "wait4", args: [{ ref: "child" }, 0, 0, 0], why };
  // Only where they are mapped can they be taken.
  yield { syscall: "setresgid", args: [0, 0, 0], why };
  yield { syscall: "setresuid", args: [0, 0, 0], why };
}
