import { done } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { each } from "./each.ts";
import { milliseconds, namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const stop: Command = {
  name: "stop",
  summary: "ask containers to end, and kill those that do not",
  usage: "stop [options] <container>…",
  examples: ["mayfly stop web", "mayfly stop -t 30 web db"],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    time: {
      type: "string",
      short: "t",
      value: "time",
      help: "how long to wait before it is killed (default: its own, 10s)",
    },
    signal: { type: "string", short: "s", value: "signal", help: "what asks it (default: its own, else TERM)" },
  },
  run: (context) => {
    const graceMs = milliseconds("time", text(context.flags, "time"));
    return each(context, ({ api }, id) => {
      const { param, query } = ofContainer(id, context.flags);
      return done(api.v1.containers[":id"].stop.$post({
        param,
        query: {
          ...query,
          signal: text(context.flags, "signal"),
          graceMs: graceMs === undefined ? undefined : String(graceMs),
        },
      }));
    });
  },
};
