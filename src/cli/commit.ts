import { result } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const commit: Command = {
  name: "commit",
  summary: "make an image of what a container has become",
  usage: "commit [options] <container> <image>",
  examples: [`mayfly commit --change 'CMD ["nginx"]' web my/web:2`],
  words: { min: 2, max: 2 },
  flags: {
    ...namespaceFlag,
    author: { type: "string", short: "a", value: "text", help: "who made it" },
    message: { type: "string", short: "m", value: "text", help: "what for" },
    change: {
      type: "string",
      short: "c",
      multiple: true,
      value: "line",
      help: "a Dockerfile's instruction; may be given often",
    },
    "no-pause": { type: "boolean", help: "do not freeze its processes meanwhile" },
  },
  async run({ connect, words: [id = "", name = ""], flags, output }) {
    await using connection = await connect();
    const image = await result(connection.api.v1.containers[":id"].commit.$post({
      ...ofContainer(id, flags),
      json: {
        name,
        author: text(flags, "author"),
        message: text(flags, "message"),
        changes: [...texts(flags, "change")],
        pause: flags["no-pause"] !== true,
      },
    }));
    output.line(output.json ? JSON.stringify(image, undefined, 2) : `${image.name}@${image.target.digest}`);
    return 0;
  },
};
