import { resolve } from "node:path";
import type { Image } from "../core/image.ts";
import { callJson } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";

export const importCommand: Command = {
  name: "import",
  summary: "take in an image from disk: an OCI layout, a tar of one, or what `docker save` wrote",
  usage: "import [options] <path>",
  examples: ["mayfly import ./layout --name tool:1", "mayfly import saved.tar"],
  words: { min: 1, max: 1 },
  flags: { ...namespaceFlag, name: { type: "string", value: "reference", help: "in place of the name that is in it" } },
  async run({ connect, words: [path = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await callJson<{ items: readonly Image[] }>(connection, "POST", "/v1/images/import", {
      query: { namespace: text(flags, "namespace") },
      body: { path: resolve(path), name: text(flags, "name") },
    });
    if (output.json) output.line(JSON.stringify(items, undefined, 2));
    else for (const image of items) output.line(`${image.name}@${image.target.digest}`);
    return 0;
  },
};
