import { Failure } from "../../core/errors.ts";
import { runHelper } from "../../linux/helper_program.ts";
import { text } from "../arguments.ts";
import { type OciCommand, say } from "../command.ts";
import { namespacePids } from "../../linux/namespace_pids.ts";
import { wantStatus } from "../status.ts";

export const ps: OciCommand = {
  name: "ps",
  summary: "list the processes of a container",
  usage: "ps [--format json] <id> [ps's options]",
  flags: { format: { type: "text", short: "f", help: "table (default) or json: process ids alone" } },
  words: { min: 1, max: Infinity },
  lastWord: 1,
  async run(context) {
    const { store, words: [id = "", ...options] } = context;
    const record = store.load(id);
    wantStatus(record, "list the processes of", "created", "running", "paused");
    const machine = await context.machine();
    const cgroup = machine.cgroups.open(record.cgroupPath);
    // An ordinary user's container need not have one.
    const pids = cgroup.folders.size > 0 ? cgroup.pids() : namespacePids(record.pid);
    const format = text(context, "format") ?? "table";
    if (format === "json") {
      say(JSON.stringify([...pids]));
      return 0;
    }
    if (format !== "table") {
      throw new Failure("invalid_argument", `--format is ${JSON.stringify(format)}, wanted table or json`);
    }
    const args = ["/bin/ps", ...options.length === 0 ? ["-ef"] : options];
    const { code, stdout, stderr } = await runHelper(machine.kernel, machine.children, { args });
    if (code !== 0) throw new Failure("failed_precondition", `cannot run ps: ${stderr.trim()}`);
    const [head = "", ...lines] = stdout.trimEnd().split("\n");
    const column = head.trim().split(/\s+/).indexOf("PID");
    if (column < 0) throw new Failure("invalid_argument", "cannot tell processes apart: ps prints no column PID");
    say([head, ...lines.filter((line) => pids.has(Number(line.trim().split(/\s+/)[column])))].join("\n"));
    return 0;
  },
};
