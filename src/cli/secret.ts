import { readFileSync } from "node:fs";
import process from "node:process";
import { Failure, messageOf } from "../core/errors.ts";
import { done, result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, table } from "./output.ts";
import { standardInput } from "./stdin.ts";
import { subcommand } from "./subcommand.ts";

const words = ["create", "list", "ls", "remove", "rm"] as const;

export const secret: Command = {
  name: "secret",
  summary: "make, list or remove secrets, which functions find as files",
  usage: "secret create|list|remove [options] [name…]",
  examples: [
    'printf %s "$PASSWORD" | mayfly secret create db-password   # every byte is kept, a newline too',
    "mayfly secret create tls-key --from-file ./key.pem",
    "mayfly deploy app --image team/app:1 --secret db-password    # /run/secrets/db-password",
  ],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    "from-file": { type: "string", value: "path", help: "the value; default: standard input" },
    replace: { type: "boolean", help: "another value for one that is there; functions see it at once" },
  },
  async run({ connect, words: [word, ...names], flags, output }) {
    const verb = subcommand("secret", word, words);
    if (verb === "list" || verb === "ls") {
      await using connection = await connect();
      const { items } = await result(connection.api.v1.secrets.$get({ query: scope(flags) }));
      table(
        output,
        ["name", "created", "updated"],
        items.map((item) => [item.name, ago(item.createdAt), ago(item.updatedAt)]),
        items,
      );
      return 0;
    }
    if (names.length === 0 || (verb === "create" && names.length > 1)) {
      throw new Failure("invalid_argument", `mayfly secret ${verb}: it wants a name\nusage: mayfly ${secret.usage}`);
    }
    if (verb === "create") {
      const [name = ""] = names;
      const value = await valueOf(text(flags, "from-file"));
      await using connection = await connect();
      const url = new URL(`/v1/secrets/${encodeURIComponent(name)}`, "http://mayfly");
      const namespace = text(flags, "namespace");
      if (namespace !== undefined) url.searchParams.set("namespace", namespace);
      const method = flags["replace"] === true ? "PUT" : "POST";
      await done(connection.fetch(new Request(url, { method, body: value })));
      output.line(name);
      return 0;
    }
    await using connection = await connect();
    for (const name of names) {
      await done(connection.api.v1.secrets[":name"].$delete({ param: { name }, query: scope(flags) }));
      output.line(name);
    }
    return 0;
  },
};

async function valueOf(file: string | undefined): Promise<Uint8Array<ArrayBuffer>> {
  if (file === undefined) {
    if (process.stdin.isTTY !== true) return await new Response(standardInput()).bytes();
    throw new Failure("invalid_argument", "mayfly secret create: it wants the value on standard input, or --from-file");
  }
  try {
    return new Uint8Array(readFileSync(file));
  } catch (cause) {
    throw new Failure("invalid_argument", `cannot read the secret's value: ${messageOf(cause)}`, { cause });
  }
}
