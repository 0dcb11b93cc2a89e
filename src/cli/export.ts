import { resolve } from "node:path";
import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const exportCommand: Command = {
  name: "export",
  summary: "write an image to disk, as an OCI layout folder or a .tar of one",
  usage: "export [options] <reference> <path>",
  examples: ["mayfly export tool:1 tool.tar"],
  words: { min: 2, max: 2 },
  flags: namespaceFlag,
  async run({ connect, words: [name = "", path = ""], flags, output }) {
    await using connection = await connect();
    await done(connection.api.v1.images.export.$post({ query: scope(flags), json: { name, path: resolve(path) } }));
    output.note(`wrote ${resolve(path)}`);
    return 0;
  },
};
