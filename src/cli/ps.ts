import { callList } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ago, bytes, table } from "./output.ts";

/** One running task, as `GET /v1/tasks` shows it. */
interface RunningTask {
  readonly id: string;
  readonly function?: string;
  readonly image?: string;
  readonly pid?: number;
  readonly status: string;
  readonly startedAt?: Date;
  readonly stats?: { readonly memoryBytes?: number; readonly cpuMicros?: number };
}

export const ps: Command = {
  name: "ps",
  summary: "list the containers that run now",
  usage: "ps [options]",
  flags: namespaceFlag,
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const items = await callList<RunningTask>(connection, "/v1/tasks", {
      query: { namespace: text(flags, "namespace") },
    });
    table(
      output,
      ["id", "function", "image", "pid", "status", "memory", "started"],
      items.map((item) => [
        item.id,
        item.function ?? "-",
        item.image ?? "-",
        String(item.pid ?? "-"),
        item.status,
        bytes(item.stats?.memoryBytes),
        item.startedAt === undefined ? "-" : ago(item.startedAt),
      ]),
      items,
    );
    return 0;
  },
};
