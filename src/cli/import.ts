import { resolve } from "node:path";
import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const importCommand: Command = {
  name: "import",
  summary: "take in an image from disk: an OCI layout, a tar of one, or what `docker save` wrote",
  usage: "import [options] <path>",
  examples: ["mayfly import ./layout --name tool:1", "mayfly import saved.tar"],
  words: { min: 1, max: 1 },
  flags: { ...namespaceFlag, name: { type: "string", value: "reference", help: "in place of the name that is in it" } },
  async run({ connect, words: [path = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.images.import.$post({
      query: scope(flags),
      json: { path: resolve(path), name: text(flags, "name") },
    }));
    if (output.json) output.line(JSON.stringify(items, undefined, 2));
    else for (const image of items) output.line(`${image.name}@${image.target.digest}`);
    return 0;
  },
};
