import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";

export const wait: Command = {
  name: "wait",
  summary: "wait for containers to end, and print their exit codes",
  usage: "wait [options] <container>…",
  examples: ["mayfly wait job"],
  words: { min: 1, max: Infinity },
  flags: namespaceFlag,
  async run({ connect, words, flags, output }) {
    await using connection = await connect();
    const waits = words.map((id) => result(connection.api.v1.containers[":id"].wait.$post(ofContainer(id, flags))));
    const exits = await Promise.all(waits);
    if (output.json) output.line(JSON.stringify(exits, undefined, 2));
    else for (const { exitCode } of exits) output.line(String(exitCode));
    return 0;
  },
};
