import type { OciCommand } from "../command.ts";
import { wantStatus } from "../status.ts";

export const pause: OciCommand = {
  name: "pause",
  summary: "stop every process of a container where it is",
  usage: "pause <id>",
  flags: {},
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const record = store.load(id);
    wantStatus(record, "pause", "running");
    const { cgroups } = await context.machine();
    await cgroups.freeze(cgroups.open(record.cgroupPath));
    return 0;
  },
};
