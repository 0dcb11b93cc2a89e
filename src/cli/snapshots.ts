import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { ago, table } from "./output.ts";

export const snapshots: Command = {
  name: "snapshots",
  summary: "list the snapshots of images' layers and of containers",
  usage: "snapshots [options]",
  examples: ["mayfly snapshots --kind active"],
  flags: {
    kind: { type: "string", value: "kind", help: "committed, active or view" },
    of: { type: "string", value: "id", help: "of one snapshotter (default all)" },
  },
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const query = { kind: text(flags, "kind") as "active", snapshotter: text(flags, "of") };
    const { items } = await result(connection.api.v1.snapshots.$get({ query }));
    table(
      output,
      ["snapshotter", "key", "kind", "parent", "created"],
      items.map((item) => [item.snapshotter, item.key, item.kind, item.parent ?? "-", ago(item.createdAt)]),
      items,
    );
    return 0;
  },
};
