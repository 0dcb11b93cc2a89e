import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { each } from "./each.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const unpause: Command = {
  name: "unpause",
  summary: "let paused containers go on",
  usage: "unpause [options] <container>…",
  examples: ["mayfly unpause web"],
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  run: (context) =>
    each(context, ({ api }, id) => done(api.v1.containers[":id"].resume.$post(ofContainer(id, context.flags)))),
};
