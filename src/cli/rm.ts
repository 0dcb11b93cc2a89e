import { done } from "./answer.ts";
import type { Command } from "./command.ts";
import { each } from "./each.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { kindFlags, kindOf, ofContainer } from "./named.ts";

export const rm: Command = {
  name: "rm",
  summary: "remove containers that have ended, and functions; a name says by itself which it is",
  usage: "rm [options] <name>…",
  examples: [
    "mayfly rm web",
    "mayfly rm -f web",
    "mayfly rm upper         # a function: invocations that run are finished",
  ],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    force: { type: "boolean", short: "f", help: "kill a container that runs first" },
    ...kindFlags,
  },
  run: (context) =>
    each(context, async (connection, name) => {
      const { flags } = context;
      const { api } = connection;
      if (await kindOf(connection, name, flags) === "function") {
        const param = { name };
        return await done(api.v1.functions[":name"].$delete({ param, query: scope(flags) }));
      }
      const { param, query } = ofContainer(name, flags);
      const force = flags["force"] === true ? "true" : "false";
      await done(api.v1.containers[":id"].$delete({ param, query: { ...query, force } }));
    }),
};
