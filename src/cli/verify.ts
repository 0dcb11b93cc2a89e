import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { bytes, printable, table } from "./output.ts";
import { credentials, registryFlags } from "./registry_flags.ts";

export const verify: Command = {
  name: "verify",
  summary: "compare all that is here of an image with its digests, its diffIDs and the policy of signatures",
  usage: "verify [options] <reference>",
  examples: ["mayfly verify ghcr.io/owner/tool:1 && mayfly deploy tool --image ghcr.io/owner/tool:1"],
  words: { min: 1, max: 1 },
  flags: { ...namespaceFlag, ...registryFlags },
  async run({ connect, words: [name = ""], flags, output }) {
    await using connection = await connect();
    const json = { name, ...credentials(flags) };
    const report = await result(connection.api.v1.images.verify.$post({ query: scope(flags), json }));
    if (output.json) {
      output.line(JSON.stringify(report, undefined, 2));
      return report.ok ? 0 : 1;
    }
    const { blobs, elsewhere, verdicts } = report;
    const rows = blobs.map(({ digest, kind, size, state, reason }) => {
      return [digest, kind, bytes(size), reason === undefined ? state : `${state}: ${reason}`];
    });
    table(output, ["digest", "kind", "size", "state"], rows, blobs);
    for (const { state, reason } of verdicts) output.line(`${state}: ${printable(reason)}`);
    if (verdicts.length === 0) output.note(`no policy of signatures is set: see "verify" in the configuration`);
    if (elsewhere > 0) output.note(`${elsewhere} manifests for other platforms are not here`);
    const bad = blobs.filter(({ state }) => state !== "whole");
    if (bad.length === 0) output.note(`${report.name}: ${blobs.length} blobs, all whole`);
    else {
      const cure = bad.some(({ state }) => state !== "wrong")
        ? "mayfly content verify --repair brings what is corrupt or missing again"
        : "it was made so: have it built anew";
      output.note(`${report.name}: ${bad.length} of ${blobs.length} blobs are not whole: ${cure}`);
    }
    return report.ok ? 0 : 1;
  },
};
