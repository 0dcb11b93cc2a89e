import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import { quote } from "./steps.ts";

const cloneFlags = {
  pid: f.CLONE_NEWPID,
  network: f.CLONE_NEWNET,
  mount: f.CLONE_NEWNS,
  ipc: f.CLONE_NEWIPC,
  uts: f.CLONE_NEWUTS,
  cgroup: f.CLONE_NEWCGROUP,
} as const;
export type NamespaceType = keyof typeof cloneFlags;

/**
 * Namespaces that exist already and can be joined. A child that shares the daemon's memory must not be visible inside
 * another container, so pid and mount namespaces are not among them.
 */
const joinable: ReadonlySet<string> = new Set(["network", "ipc", "uts", "cgroup"]);

/** The namespaces of a container: which are new, which are joined. What is in neither is shared with the host. */
export interface Namespaces {
  readonly made: ReadonlySet<NamespaceType>;
  readonly joined: ReadonlyMap<NamespaceType, string>;
}

/**
 * Reads `linux.namespaces`.
 * @throws invalid_argument for one that is named twice or missing; unimplemented for one that cannot be made or joined.
 */
export function namespacesOf(spec: Spec): Namespaces {
  const made = new Set<NamespaceType>();
  const joined = new Map<NamespaceType, string>();
  for (const { type, path } of spec.linux.namespaces ?? []) {
    if (type === "user" || type === "time") {
      throw new Failure(
        "unimplemented",
        `cannot make a ${type} namespace: the native runtime does not support it yet`,
        {
          details: { field: "linux.namespaces", type },
        },
      );
    }
    if (made.has(type) || joined.has(type)) {
      throw new Failure("invalid_argument", `cannot use linux.namespaces: ${quote(type)} is there twice`);
    }
    if (path === undefined || path === "") made.add(type);
    else if (joinable.has(type)) joined.set(type, path);
    else {
      throw new Failure("unimplemented", `cannot join the ${type} namespace ${quote(path)}: not supported here`, {
        details: { field: "linux.namespaces", type },
      });
    }
  }
  if (!made.has("mount")) {
    throw new Failure("invalid_argument", "cannot run without a new mount namespace: linux.namespaces has none");
  }
  return { made, joined };
}

/**
 * The flags of clone3(2). The cgroup namespace is made later, when the child is in its cgroup: its root is the cgroup at
 * that moment.
 */
export function cloneFlagsOf({ made }: Namespaces): number {
  let flags = 0;
  for (const type of made) if (type !== "cgroup") flags |= cloneFlags[type];
  return flags;
}

/** Joins the namespaces that exist. */
export function* joinNamespaces({ joined }: Namespaces): Generator<Operation> {
  for (const [type, path] of joined) {
    const store = `ns:${type}`;
    yield {
      syscall: "openat",
      args: [f.AT_FDCWD, path, f.O_RDONLY | f.O_CLOEXEC, 0],
      store,
      why: `open ${type} namespace ${quote(path)}`,
    };
    yield { syscall: "setns", args: [{ ref: store }, cloneFlags[type]], why: `join ${type} namespace ${quote(path)}` };
    yield { syscall: "close", args: [{ ref: store }], why: `close ${type} namespace`, onError: "ignore" };
  }
}

/** Makes the cgroup namespace, once the child is in its cgroup. */
export function* makeCgroupNamespace({ made }: Namespaces): Generator<Operation> {
  if (made.has("cgroup")) yield { syscall: "unshare", args: [f.CLONE_NEWCGROUP], why: "make cgroup namespace" };
}
