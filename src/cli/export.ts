import { resolve } from "node:path";
import { call } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";

export const exportCommand: Command = {
  name: "export",
  summary: "write an image to disk, as an OCI layout folder or a .tar of one",
  usage: "export [options] <reference> <path>",
  examples: ["mayfly export tool:1 tool.tar"],
  words: { min: 2, max: 2 },
  flags: namespaceFlag,
  async run({ connect, words: [name = "", path = ""], flags, output }) {
    await using connection = await connect();
    await (await call(connection, "POST", "/v1/images/export", {
      query: { namespace: text(flags, "namespace") },
      body: { name, path: resolve(path) },
    })).body?.cancel();
    output.note(`wrote ${resolve(path)}`);
    return 0;
  },
};
