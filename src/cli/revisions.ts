import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, table } from "./output.ts";

export const revisions: Command = {
  name: "revisions",
  summary: "list what a function was deployed as, and which of it answer",
  usage: "revisions [options] <name>",
  words: { min: 1, max: 1 },
  flags: namespaceFlag,
  async run({ connect, words: [name = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await result(
      connection.api.v1.functions[":name"].revisions.$get({ param: { name }, query: scope(flags) }),
    );
    table(
      output,
      ["revision", "traffic", "tags", "image", "digest", "deployed"],
      items.map((item) => [
        item.id,
        item.percent === 0 ? "" : `${item.percent}%`,
        item.tags.join(" "),
        item.image,
        item.digest.slice(0, "sha256:".length + 12),
        ago(item.createdAt),
      ]),
      items,
    );
    return 0;
  },
};
