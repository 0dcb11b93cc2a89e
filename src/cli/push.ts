import { succeeded } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { transfer } from "./image_transfer.ts";
import { credentials, registryFlags } from "./registry_flags.ts";

export const push: Command = {
  name: "push",
  summary: "bring an image to a registry, under its name or another",
  usage: "push [options] <reference> [destination]",
  examples: ["mayfly push ghcr.io/owner/tool:1", "mayfly push tool:1 localhost:5000/team/tool:1"],
  words: { min: 1, max: 2 },
  flags: {
    ...namespaceFlag,
    platform: { type: "string", value: "os/arch", help: "one of several, in place of all that are here" },
    ...registryFlags,
  },
  async run({ connect, words: [name = "", to], flags, output }) {
    const json = { name, to, platform: text(flags, "platform"), ...credentials(flags) };
    await using connection = await connect();
    const answer = await succeeded(connection.api.v1.images.push.$post({ query: scope(flags), json }));
    const image = await transfer(answer, output, `push ${name}`);
    output.line(output.json ? JSON.stringify(image, undefined, 2) : `${image.name}@${image.target.digest}`);
    return 0;
  },
};
