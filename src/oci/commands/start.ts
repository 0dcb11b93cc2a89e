import type { OciCommand } from "../command.ts";
import { wantStatus } from "../status.ts";

export const start: OciCommand = {
  name: "start",
  summary: "execute the command of a container that was created",
  usage: "start <id>",
  flags: {},
  asRoot: true,
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const record = store.load(id);
    wantStatus(record, "start", "created");
    const runtime = await context.runtime();
    await runtime.start(record);
    await runtime.hooks(record, "poststart", record.pid);
    return 0;
  },
};
