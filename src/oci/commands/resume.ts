import type { OciCommand } from "../command.ts";
import { wantStatus } from "../status.ts";

export const resume: OciCommand = {
  name: "resume",
  summary: "let the processes of a paused container go on",
  usage: "resume <id>",
  flags: {},
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const record = store.load(id);
    wantStatus(record, "resume", "paused");
    const { cgroups } = await context.machine();
    cgroups.thaw(cgroups.open(record.cgroupPath));
    return 0;
  },
};
