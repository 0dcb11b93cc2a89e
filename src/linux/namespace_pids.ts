import { readdirSync, readlinkSync } from "node:fs";

/** The processes in the pid namespace of a process, by their ids here; itself among them. None where it has gone. */
export function namespacePids(pid: number): ReadonlySet<number> {
  const namespaceOf = (name: string | number) => {
    try {
      return readlinkSync(`/proc/${name}/ns/pid`);
    } catch {
      // It has ended, or is not this user's to look at.
      return undefined;
    }
  };
  const namespace = namespaceOf(pid);
  if (namespace === undefined) return new Set();
  return new Set(
    readdirSync("/proc").filter((name) => /^\d+$/.test(name) && namespaceOf(name) === namespace).map(Number),
  );
}
