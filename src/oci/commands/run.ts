import { isSet } from "../arguments.ts";
import type { OciCommand } from "../command.ts";
import { waitInForeground } from "../foreground.ts";
import { containerFlags, makeContainer } from "../making.ts";
import { removeContainer } from "../removing.ts";

export const run: OciCommand = {
  name: "run",
  summary: "make and start a container, and wait for its end",
  usage: "run [options] <id>",
  flags: {
    ...containerFlags,
    detach: { type: "boolean", short: "d", help: "do not wait for its end" },
    keep: { type: "boolean", help: "do not delete it when it has ended" },
  },
  asRoot: true,
  words: { min: 1, max: 1 },
  async run(context) {
    const detach = isSet(context, "detach");
    const { record, init } = await makeContainer(context, context.words[0] ?? "", { foreground: !detach });
    try {
      const runtime = await context.runtime();
      await runtime.start(record);
      await runtime.hooks(record, "poststart", record.pid);
    } catch (error) {
      await removeContainer(context, record);
      throw error;
    }
    if (detach) return 0;
    try {
      return await waitInForeground(context, init);
    } finally {
      if (!isSet(context, "keep")) await removeContainer(context, record);
    }
  },
};
