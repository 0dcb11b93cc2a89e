import type { OciCommand } from "../command.ts";
import { containerFlags, makeContainer } from "../making.ts";

export const create: OciCommand = {
  name: "create",
  summary: "make a container, which waits for start",
  usage: "create [options] <id>",
  flags: containerFlags,
  asRoot: true,
  words: { min: 1, max: 1 },
  async run(context) {
    await makeContainer(context, context.words[0] ?? "");
    return 0;
  },
};
