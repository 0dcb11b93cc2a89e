import { Failure } from "../core/errors.ts";
import { done } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { each } from "./each.ts";
import { byteCount, namespaceFlag, number, pairs } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const update: Command = {
  name: "update",
  summary: "change limits and labels of containers; of those that run, at once",
  usage: "update [options] <container>…",
  examples: ["mayfly update -m 512m --cpus 2 web"],
  words: { min: 1, max: Infinity },
  flags: {
    ...namespaceFlag,
    memory: { type: "string", short: "m", value: "size", help: "limit of memory, as 256m" },
    cpus: { type: "string", value: "number", help: "processors it may use, as 0.5" },
    pids: { type: "string", value: "number", help: "processes and threads it may have" },
    label: {
      type: "string",
      short: "l",
      multiple: true,
      value: "NAME=value",
      help: "labels, which replace those it has",
    },
  },
  run(context) {
    const { flags } = context;
    const resources = {
      memoryBytes: byteCount("memory", text(flags, "memory")),
      cpus: number("cpus", text(flags, "cpus")),
      pids: number("pids", text(flags, "pids")),
    };
    const labels = texts(flags, "label").length === 0 ? undefined : pairs("label", texts(flags, "label"));
    if (labels === undefined && Object.values(resources).every((value) => value === undefined)) {
      throw new Failure(
        "invalid_argument",
        `mayfly update: nothing to change: it wants --memory, --cpus, --pids or --label`,
      );
    }
    return each(
      context,
      ({ api }, id) =>
        done(api.v1.containers[":id"].$patch({ ...ofContainer(id, flags), json: { resources, labels } })),
    );
  },
};
