import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const checkpoint: Command = {
  name: "checkpoint",
  summary: "make an image of a container as it runs, for others to go on from",
  usage: "checkpoint [options] <container> <image>",
  examples: [
    "mayfly run -d -i --name warm my/app && mayfly checkpoint warm my/app:warm",
    "mayfly run -d --restore my/app:warm          # goes on where that one was",
    "mayfly deploy app --image my/app:warm --restore",
  ],
  notes: [
    "It takes CRIU, and a container without a terminal, users of its own or hooks of its creation: `mayfly doctor` tells.",
  ],
  words: { min: 2, max: 2 },
  flags: {
    ...namespaceFlag,
    message: { type: "string", short: "m", value: "text", help: "what for" },
    "leave-running": { type: "boolean", help: "the container goes on; it ends otherwise" },
    "tcp-established": { type: "boolean", help: "write TCP connections, too (CRIU 4.2 from Linux 6.16 on)" },
  },
  async run({ connect, words: [id = "", name = ""], flags, output }) {
    await using connection = await connect();
    const image = await result(connection.api.v1.containers[":id"].checkpoint.$post({
      ...ofContainer(id, flags),
      json: {
        name,
        message: text(flags, "message"),
        leaveRunning: flags["leave-running"] === true,
        tcpEstablished: flags["tcp-established"] === true,
      },
    }));
    output.line(output.json ? JSON.stringify(image, undefined, 2) : `${image.name}@${image.target.digest}`);
    return 0;
  },
};
