import { done, result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, number, scope } from "./flags.ts";
import { ago, table } from "./output.ts";
import { subcommand } from "./subcommand.ts";

const words = ["ls", "replay", "rm"] as const;

export const calls: Command = {
  name: "calls",
  summary: "list asynchronous calls; run those again that failed, or forget them",
  usage: "calls [ls|replay|rm] [options] [call…]",
  examples: [
    "mayfly invoke upper --async --data hello     # prints the call's id",
    "mayfly calls --status failed",
    "mayfly calls replay 01m8fmkcwr12ke852cgcgtfk7t",
  ],
  words: { min: 0, max: Infinity },
  flags: {
    ...namespaceFlag,
    function: { type: "string", value: "name", help: "those of one function" },
    status: { type: "string", value: "status", help: "queued, running, succeeded or failed" },
    limit: { type: "string", value: "number", help: "the newest so many (default 100)" },
  },
  async run({ connect, words: [word = "ls", ...ids], flags, output }) {
    const verb = subcommand("calls", word, words);
    await using connection = await connect();
    const api = connection.api.v1.calls;
    for (const id of verb === "ls" ? [] : ids) {
      const one = { param: { id }, query: scope(flags) };
      if (verb === "replay") await result(api[":id"].replay.$post(one));
      else await done(api[":id"].$delete(one));
      output.line(id);
    }
    if (verb !== "ls") return 0;
    const { items } = await result(api.$get({
      query: {
        ...scope(flags),
        function: text(flags, "function"),
        // The daemon says what is wrong with it.
        status: text(flags, "status") as "failed",
        limit: number("limit", text(flags, "limit"))?.toString(),
      },
    }));
    table(
      output,
      ["id", "function", "status", "attempts", "accepted", "error"],
      items.map((item) => [
        item.id,
        item.function,
        item.status,
        String(item.attempts),
        ago(item.createdAt),
        item.error ?? "",
      ]),
      items,
    );
    return 0;
  },
};
