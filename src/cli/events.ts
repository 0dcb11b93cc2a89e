import * as v from "valibot";
import { parse } from "../core/parse.ts";
import { succeeded } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { printable } from "./output.ts";
import { requireDaemon } from "./require_daemon.ts";

const EventSchema = v.looseObject({
  id: v.string(),
  topic: v.string(),
  namespace: v.string(),
  at: v.string(),
  data: v.looseObject({}),
});

export const events: Command = {
  name: "events",
  summary: "tell what happens to containers, tasks, images and functions, as it happens",
  usage: "events [options]",
  examples: ["mayfly events --topic /tasks/ --container 3f2a", "mayfly events --json | jq .topic"],
  flags: {
    namespace: { ...namespaceFlag["namespace"]!, help: "of this tenant alone (default: of all)" },
    topic: {
      type: "string",
      multiple: true,
      value: "prefix",
      help: "what topics begin with, as /tasks/exit; may be given often",
    },
    container: { type: "string", multiple: true, value: "id", help: "of this container; may be given often" },
    label: {
      type: "string",
      short: "l",
      multiple: true,
      value: "NAME[=value]",
      help: "with this label; may be given often",
    },
    since: { type: "string", value: "id", help: "what is kept behind this event, first" },
  },
  async run({ connect, flags, output }) {
    await using connection = await connect();
    requireDaemon(connection, "follow events");
    const query = new URLSearchParams();
    for (const name of ["namespace", "since"]) {
      const value = text(flags, name);
      if (value !== undefined) query.set(name, value);
    }
    for (const name of ["topic", "container", "label"]) {
      for (const value of texts(flags, name)) query.append(name, value);
    }
    const answer = await succeeded(connection.fetch(new Request(`http://mayfly/v1/events?${query}`)));
    for await (const block of blocks(answer.body ?? new ReadableStream())) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join(
        "\n",
      );
      if (data === "") continue;
      if (block.includes("event: gap\n")) {
        output.note(`mayfly: some events are kept no more: ${data}`);
        continue;
      }
      if (output.json) {
        output.line(data);
        continue;
      }
      const event = parse(EventSchema, JSON.parse(data), "cannot read an event");
      output.line(`${event.at}  ${event.namespace}  ${event.topic}  ${printable(facts(event.data))}`);
    }
    return 0;
  },
};

/** `containerId=3f2a exitStatus=0` */
function facts(data: Readonly<Record<string, unknown>>): string {
  return Object.entries(data).filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : String(value)}`).join(" ");
}

/** The blocks of server-sent events. */
async function* blocks(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const all = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
    rest = all.pop() ?? "";
    yield* all;
  }
}
