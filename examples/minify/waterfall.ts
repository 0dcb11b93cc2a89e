import type { Phase } from "../../src/core/invocation.ts";

/** What happens in each phase, in a few words. */
const meanings: Readonly<Record<string, string>> = {
  daemon: "plugins, database, sockets",
  image: "one static binary, one layer, an OCI layout",
  import: "each blob checked by its digest",
  deploy: "the layer unpacked, the launch planned",
  prepare: "the image's layers, unpacked long ago",
  create: "a cgroup and pipes",
  start: "one clone3: namespaces, mounts, seccomp, execve",
  first_byte: "the program reads, works and writes",
  run: "until it is done",
  exit: "its exit code and what it used",
  cleanup: "nothing stays",
};

/**
 * Draws phases as bars on a common time line.
 * @param width of the time line, in characters.
 */
export function waterfall(phases: readonly Phase[], width = 40): string[] {
  const end = Math.max(...phases.map((phase) => phase.startMs + phase.durationMs), 0.001);
  const names = Math.max(...phases.map((phase) => phase.name.length));
  return phases.map(({ name, startMs, durationMs }) => {
    const from = Math.min(width - 1, Math.round((startMs / end) * width));
    const length = Math.max(1, Math.min(width - from, Math.round((durationMs / end) * width)));
    const line = `${"·".repeat(from)}${"█".repeat(length)}${"·".repeat(width - from - length)}`;
    const label = name.replaceAll("_", " ").padEnd(names);
    return `${label}  ${line}  ${durationMs.toFixed(2).padStart(7)} ms  ${meanings[name] ?? ""}`.trimEnd();
  });
}
