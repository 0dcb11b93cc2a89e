import { Failure } from "../../core/errors.ts";
import type { CgroupStats } from "../../linux/cgroup/mod.ts";
import { isSet, text } from "../arguments.ts";
import { type OciCommand, say } from "../command.ts";
import { statusOf, wantStatus } from "../status.ts";

export const events: OciCommand = {
  name: "events",
  summary: "print what a container uses, and when it runs out of memory, as JSON lines",
  usage: "events [options] <id>",
  flags: {
    stats: { type: "boolean", help: "print what it uses now, once" },
    interval: { type: "text", help: "time between two lines (default 5s)" },
  },
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const record = store.load(id);
    wantStatus(record, "watch", "created", "running", "paused");
    const { cgroups } = await context.machine();
    const cgroup = cgroups.open(record.cgroupPath);
    const tell = (stats: CgroupStats) => say(JSON.stringify({ type: "stats", id, data: dataOf(stats) }));
    let stats = cgroup.stats();
    if (isSet(context, "stats")) {
      tell(stats);
      return 0;
    }
    const intervalMs = milliseconds(text(context, "interval") ?? "5s");
    while (statusOf(record) !== "stopped") {
      const next = cgroup.stats();
      if (next.oomKills > stats.oomKills) say(JSON.stringify({ type: "oom", id }));
      stats = next;
      tell(stats);
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
    return 0;
  },
};

/** In the form of runc's events, as far as it is counted. */
function dataOf(stats: CgroupStats): object {
  const { cpuMicros, memoryBytes, memoryPeakBytes, pids } = stats;
  return {
    cpu: { usage: { total: (cpuMicros ?? 0) * 1000 } },
    memory: { usage: { usage: memoryBytes, max: memoryPeakBytes } },
    pids: { current: pids },
  };
}

function milliseconds(words: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(words);
  if (match === null) {
    throw new Failure("invalid_argument", `--interval is ${JSON.stringify(words)}, wanted a time as 5s`);
  }
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000 }[match[2] as "ms" | "s" | "m"];
}
