import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";
import { bytes, table } from "./output.ts";

export const top: Command = {
  name: "top",
  summary: "list a container's processes",
  usage: "top [options] <container>",
  examples: ["mayfly top web"],
  words: { min: 1, max: 1 },
  flags: namespaceFlag,
  async run({ connect, words: [id = ""], flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.containers[":id"].processes.$get(ofContainer(id, flags)));
    table(
      output,
      ["pid", "ppid", "inside", "uid", "state", "cpu", "memory", "command"],
      items.map((item) => [
        String(item.pid),
        String(item.ppid),
        String(item.containerPid),
        String(item.uid),
        item.state,
        `${(item.cpuMicros / 1e6).toFixed(2)} s`,
        bytes(item.memoryBytes),
        item.command,
      ]),
      items,
    );
    return 0;
  },
};
