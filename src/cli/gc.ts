import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { bytes } from "./output.ts";

export const gc: Command = {
  name: "gc",
  summary: "remove what no image, function, container or lease needs; this also happens behind every removal",
  usage: "gc [options]",
  flags: { "dry-run": { type: "boolean", help: "tell what would go, and remove nothing" } },
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const dryRun = flags["dry-run"] === true;
    const collected = await result(connection.api.v1.gc.$post({ json: { dryRun } }));
    if (output.json) output.line(JSON.stringify(collected, undefined, 2));
    else {
      const { blobs, snapshots, ingests, leases } = collected;
      const counts = `${blobs} blobs (${bytes(collected.bytes)}), ${snapshots.length} snapshots, ` +
        `${ingests.length} ingests, ${leases} leases`;
      output.line(`${dryRun ? "would remove" : "removed"} ${counts}`);
      for (const { what, reason } of collected.problems) output.note(`cannot remove ${what}: ${reason}`);
    }
    return collected.problems.length === 0 ? 0 : 1;
  },
};
