import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { bytes } from "./output.ts";
import { subcommand } from "./subcommand.ts";

export const content: Command = {
  name: "content",
  summary: "compare every blob with its digest, and have damaged ones pulled again",
  usage: "content verify [options]",
  examples: ["mayfly content verify --repair"],
  words: { min: 1, max: 1 },
  flags: { repair: { type: "boolean", help: "remove what is damaged and pull the images that need it" } },
  async run({ connect, words: [word], flags, output }) {
    subcommand("content", word, ["verify"]);
    await using connection = await connect();
    const report = await result(connection.api.v1.content.verify.$post({ json: { repair: flags["repair"] === true } }));
    if (output.json) output.line(JSON.stringify(report, undefined, 2));
    else {
      for (const { digest, problem, images, repaired, reason } of report.problems) {
        const what = images.length === 0 ? "no image needs it" : images.map((image) => image.split(" ")[1]).join(", ");
        const now = repaired === undefined ? "" : repaired ? ": repaired" : `: not repaired: ${reason}`;
        output.line(`${digest} ${problem} (${what})${now}`);
      }
      output.note(`${report.blobs} blobs, ${bytes(report.bytes)}, ${report.problems.length} problems`);
    }
    return report.problems.every(({ repaired }) => repaired === true) ? 0 : 1;
  },
};
