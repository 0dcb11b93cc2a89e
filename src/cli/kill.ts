import { done } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { each } from "./each.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const kill: Command = {
  name: "kill",
  summary: "send a signal to containers",
  usage: "kill [options] <container>…",
  examples: ["mayfly kill web", "mayfly kill -s HUP web"],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    signal: { type: "string", short: "s", value: "signal", help: "a name or a number (default KILL)" },
  },
  run: (context) =>
    each(context, ({ api }, id) => {
      const { param, query } = ofContainer(id, context.flags);
      return done(
        api.v1.containers[":id"].kill.$post({ param, query: { ...query, signal: text(context.flags, "signal") } }),
      );
    }),
};
