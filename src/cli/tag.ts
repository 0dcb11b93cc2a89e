import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const tag: Command = {
  name: "tag",
  summary: "give an image one more name",
  usage: "tag [options] <reference> <name>",
  examples: ["mayfly tag tool:1 ghcr.io/owner/tool:1"],
  words: { min: 2, max: 2 },
  flags: namespaceFlag,
  async run({ connect, words: [name = "", target = ""], flags, output }) {
    await using connection = await connect();
    const image = await result(connection.api.v1.images.tag.$post({ query: scope(flags), json: { name, target } }));
    output.line(output.json ? JSON.stringify(image, undefined, 2) : image.name);
    return 0;
  },
};
