import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import * as f from "../../src/linux/flags.ts";
import type { Operation } from "../../src/linux/program.ts";
import type { Namespaces, NamespaceType } from "./namespaces.ts";
import { quote } from "./steps.ts";

/** The settings that belong to a namespace; any other would change the host. */
const owners: readonly (readonly [pattern: RegExp, namespace: NamespaceType])[] = [
  [/^net\./, "network"],
  [/^kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)$/, "ipc"],
  [/^fs\.mqueue\./, "ipc"],
  [/^kernel\.(?:domainname|hostname)$/, "uts"],
];

/** @throws invalid_argument for a setting that is not the container's own. */
export function checkSysctls(spec: Spec, { made }: Namespaces): void {
  for (const name of Object.keys(spec.linux.sysctl ?? {})) {
    const key = name.replaceAll("/", ".");
    const owner = owners.find(([pattern]) => pattern.test(key))?.[1];
    if (!/^[\w.*:-]+$/.test(key) || key.includes("..") || owner === undefined) {
      throw new Failure("invalid_argument", `cannot set sysctl ${quote(name)}: it is no setting of a namespace`, {
        details: { field: "linux.sysctl", name },
      });
    }
    if (!made.has(owner)) {
      throw new Failure(
        "invalid_argument",
        `cannot set sysctl ${quote(name)}: it needs a new ${owner} namespace, or it would change the host`,
        { details: { field: "linux.sysctl", name } },
      );
    }
  }
}

/** Writes the settings through the container's own /proc. */
export function* setSysctls(spec: Spec): Generator<Operation> {
  for (const [name, value] of Object.entries(spec.linux.sysctl ?? {})) {
    // A name of dots has slashes where a part itself holds a dot (`net/ipv4/conf/eth0.1/forwarding`).
    const path = name.includes("/") ? name : name.replaceAll(".", "/");
    const why = `set sysctl ${quote(name)} to ${quote(value)}`;
    const store = `sysctl:${name}`;
    const bytes = new TextEncoder().encode(value);
    yield { syscall: "openat", args: [f.AT_FDCWD, `/proc/sys/${path}`, f.O_WRONLY | f.O_CLOEXEC, 0], store, why };
    yield { syscall: "write", args: [{ ref: store }, bytes, bytes.length], why };
    yield { syscall: "close", args: [{ ref: store }], why, onError: "ignore" };
  }
}
