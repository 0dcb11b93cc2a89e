import { Failure } from "../core/errors.ts";
import { done, result } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { milliseconds, namespaceFlag, scope } from "./flags.ts";
import { ago, table } from "./output.ts";
import { subcommand } from "./subcommand.ts";

const words = ["create", "list", "ls", "remove", "rm"] as const;

export const token: Command = {
  name: "token",
  summary: "make, list and remove tokens: who may do what over TCP",
  usage: "token create|list|remove [options] [name…]",
  examples: [
    "mayfly token create ci --scope deploy --namespace team --expires 30d   # prints the token, this once",
    "mayfly token create caller --scope invoke",
    "mayfly token create ops --scope admin --namespace '*'                  # everything, everywhere",
    "mayfly token remove ci --namespace team",
  ],
  words: { min: 0, max: Infinity },
  flags: {
    ...namespaceFlag,
    scope: {
      type: "string",
      multiple: true,
      value: "admin|deploy|invoke|read",
      help: "what it may do; may be given often. deploy may read and invoke, too, admin everything",
    },
    rate: { type: "string", value: "rate", help: "how often it may be used, as 100/s, 600/m or 1000/h; more gets 429" },
    expires: {
      type: "string",
      value: "time",
      help: "how long it is valid, as 12h or 30d (default: until it is removed)",
    },
  },
  async run({ connect, words: [word = "list", ...names], flags, output }) {
    const verb = subcommand("token", word, words);
    if (verb === "create" && (names.length !== 1 || texts(flags, "scope").length === 0)) {
      throw new Failure(
        "invalid_argument",
        `mayfly token create: it wants a name and --scope\nusage: mayfly token create <name> --scope <scope>`,
      );
    }
    await using connection = await connect();
    const api = connection.api.v1.tokens;
    if (verb === "create") {
      const made = await result(api.$post({
        query: scope(flags),
        json: {
          name: names[0] ?? "",
          // The daemon says what is wrong with them.
          scopes: texts(flags, "scope").flatMap((given) => given.split(",")) as ["read"],
          rate: text(flags, "rate"),
          expiresInMs: milliseconds("expires", text(flags, "expires")),
        },
      }));
      output.line(output.json ? JSON.stringify(made, undefined, 2) : made.token);
      return 0;
    }
    if (verb === "remove" || verb === "rm") {
      for (const name of names) {
        await done(api[":name"].$delete({ param: { name }, query: scope(flags) }));
        output.line(name);
      }
      return 0;
    }
    const { items } = await result(api.$get({ query: scope(flags) }));
    table(
      output,
      ["name", "namespace", "scopes", "id", "rate", "created", "expires"],
      items.map((item) => [
        item.name,
        item.namespace,
        item.scopes.join(","),
        item.id,
        item.rate ?? "-",
        ago(item.createdAt),
        item.expiresAt ?? "never",
      ]),
      items,
    );
    return 0;
  },
};
