import { result } from "./answer.ts";
import { type Command, texts } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, bytes, table } from "./output.ts";
import { showPort } from "./published_port.ts";

export const ps: Command = {
  name: "ps",
  summary: "list the containers that run now, those of functions too",
  usage: "ps [options]",
  examples: ["mayfly ps -a", "mayfly ps -q --label tier=web"],
  flags: {
    ...namespaceFlag,
    all: { type: "boolean", short: "a", help: "those that do not run, too" },
    quiet: { type: "boolean", short: "q", help: "ids alone" },
    label: {
      type: "string",
      short: "l",
      multiple: true,
      value: "NAME[=value]",
      help: "those that have it; may be given often",
    },
  },
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const { api } = connection;
    const label = texts(flags, "label");
    const all = flags["all"] === true ? "true" as const : "false" as const;
    const [{ items: kept }, { items: tasks }] = await Promise.all([
      result(
        api.v1.containers.$get({ query: { ...scope(flags), all, ...(label.length > 0 && { label: [...label] }) } }),
      ),
      result(api.v1.tasks.$get({ query: scope(flags) })),
    ]);
    const running = new Map(tasks.map((task) => [task.id, task]));
    // Those of functions have no labels, and no name but the function's.
    const passing = label.length > 0 ? [] : tasks.filter(({ id }) => !kept.some((container) => container.id === id));
    const items = [
      ...kept.map((container) => ({ ...container, stats: running.get(container.id)?.stats })),
      ...passing,
    ];
    if (flags["quiet"] === true) {
      for (const { id } of items) output.line(id);
      return 0;
    }
    table(
      output,
      ["id", "name", "image", "status", "memory", "started", "address", "ports"],
      items.map((item) => [
        item.id,
        "function" in item ? item.function ?? "-" : "name" in item ? item.name ?? "-" : "-",
        item.image ?? "-",
        statusOf(item),
        bytes(item.stats?.memoryBytes),
        item.startedAt === undefined ? "-" : ago(item.startedAt),
        item.addresses.join(" ") || "-",
        item.ports.map(showPort).join(" ") || "-",
      ]),
      items,
    );
    return 0;
  },
};

/** `exited (3)` */
function statusOf(item: { readonly status: string; readonly exitCode?: number | undefined }): string {
  return item.status === "exited" && item.exitCode !== undefined ? `exited (${item.exitCode})` : item.status;
}
