import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { each } from "./each.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const pause: Command = {
  name: "pause",
  summary: "freeze every process of containers",
  usage: "pause [options] <container>…",
  examples: ["mayfly pause web"],
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  run: (context) =>
    each(context, ({ api }, id) => done(api.v1.containers[":id"].pause.$post(ofContainer(id, context.flags)))),
};
