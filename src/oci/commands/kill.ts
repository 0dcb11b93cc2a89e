import { Failure } from "../../core/errors.ts";
import { parseSignal } from "../../core/signal.ts";
import { isSet } from "../arguments.ts";
import type { OciCommand } from "../command.ts";
import { signalContainer } from "../signalling.ts";
import { statusOf } from "../status.ts";

export const kill: OciCommand = {
  name: "kill",
  summary: "send a signal to a container's init",
  usage: "kill [--all] <id> [signal]",
  flags: { all: { type: "boolean", short: "a", help: "send it to every process of the container" } },
  words: { min: 1, max: 2 },
  async run(context) {
    const { store, words: [id = "", name = "SIGTERM"] } = context;
    const signal = parseSignal(name);
    const record = store.load(id);
    const machine = await context.machine();
    if (isSet(context, "all")) {
      machine.cgroups.open(record.cgroupPath).signal(signal);
      return 0;
    }
    if (statusOf(record) === "stopped") {
      throw new Failure("failed_precondition", `cannot signal container ${JSON.stringify(id)}: container not running`);
    }
    signalContainer(machine, record, signal);
    return 0;
  },
};
