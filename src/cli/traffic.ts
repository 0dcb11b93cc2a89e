import { Failure } from "../core/errors.ts";
import { result } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { namespaceFlag, pairs, scope } from "./flags.ts";
import { table } from "./output.ts";

export const traffic: Command = {
  name: "traffic",
  summary: "say which revisions of a function answer, by weight and by tag",
  usage: "traffic [options] <name>",
  examples: [
    "mayfly traffic upper                                       # as it is",
    "mayfly traffic upper --to upper-00001=90 --to latest=10    # a tenth to the newest",
    "mayfly traffic upper --to latest=100                       # what is deployed answers again",
    "mayfly traffic upper --tag blue=upper-00002                # POST /fn/upper@blue",
    "mayfly traffic upper --provision blue=4                    # containers of it are ready for four requests",
  ],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    to: {
      type: "string",
      multiple: true,
      value: "revision=percent",
      help: "a revision's share, in place of all that are; 100 together",
    },
    tag: { type: "string", multiple: true, value: "tag=revision", help: "a name to reach a revision by" },
    provision: {
      type: "string",
      multiple: true,
      value: "tag=number",
      help: "requests at once that there are containers of a tag's revision for before they come; 0 for none",
    },
    untag: { type: "string", multiple: true, value: "tag", help: "take a tag away" },
  },
  async run({ connect, words: [name = ""], flags, output }) {
    const split = texts(flags, "to").map(share);
    const sum = split.reduce((all, { percent }) => all + percent, 0);
    if (split.length > 0 && sum !== 100) {
      throw new Failure(
        "invalid_argument",
        `--to gives ${sum}% together, wanted 100: say who gets the others, too (mayfly traffic ${name} says who does now)`,
      );
    }
    const tags = {
      ...pairs("tag", texts(flags, "tag")),
      ...Object.fromEntries(texts(flags, "untag").map((tag) => [tag, null])),
    };
    const provisioned = Object.fromEntries(texts(flags, "provision").map(provision));
    const param = { name };
    const query = scope(flags);
    await using connection = await connect();
    const api = connection.api.v1.functions[":name"].traffic;
    const json = { ...(split.length > 0 && { split }), tags, provisioned };
    const now = split.length > 0 || Object.keys({ ...tags, ...provisioned }).length > 0
      ? (await result(api.$patch({ param, query, json }))).traffic
      : await result(api.$get({ param, query }));
    if (output.json) output.line(JSON.stringify(now, undefined, 2));
    else {
      const rows = [
        ...now.split.map(({ revision, percent }) => [revision, `${percent}%`, "", ""]),
        ...Object.entries(now.tags).map(([tag, revision]) => {
          return [revision, "", `/fn/${name}@${tag}`, String(now.provisioned?.[tag] ?? "")];
        }),
      ];
      table(output, ["revision", "traffic", "tag", "provisioned"], rows, rows);
    }
    return 0;
  },
};

/** `upper-00001=90` */
function share(text: string): { readonly revision: string; readonly percent: number } {
  const [, revision, percent] = /^([^=]+)=(\d{1,3})%?$/.exec(text) ?? [];
  if (revision !== undefined) return { revision, percent: Number(percent) };
  throw new Failure("invalid_argument", `--to is ${JSON.stringify(text)}, wanted a revision and a percent: latest=10`);
}

/** `live=4` */
function provision(text: string): readonly [string, number] {
  const [, target, count] = /^([^=]+)=(\d{1,4})$/.exec(text) ?? [];
  if (target !== undefined) return [target, Number(count)];
  throw new Failure("invalid_argument", `--provision is ${JSON.stringify(text)}, wanted a tag and a number: live=4`);
}

export const rollback: Command = {
  name: "rollback",
  summary: "give all of a function's requests to the revision that answered before, or to another",
  usage: "rollback [options] <name>",
  examples: [
    "mayfly rollback upper",
    "mayfly rollback upper --to upper-00001",
    "mayfly rollback upper --to latest       # forward again; what is deployed next answers, too",
  ],
  words: { min: 1, max: 1 },
  flags: { ...namespaceFlag, to: { type: "string", value: "revision", help: "default: the one that answered before" } },
  async run({ connect, words: [name = ""], flags, output }) {
    await using connection = await connect();
    const record = await result(connection.api.v1.functions[":name"].rollback.$post({
      param: { name },
      query: scope(flags),
      json: { to: text(flags, "to") },
    }));
    const [{ revision } = { revision: "" }] = record.traffic.split;
    output.line(output.json ? JSON.stringify(record, undefined, 2) : revision);
    if (revision !== "latest") {
      output.note(`what is deployed next waits for its traffic: mayfly traffic ${name} --to latest=100`);
    }
    return 0;
  },
};
