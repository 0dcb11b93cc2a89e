import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import type { Connection } from "./connection.ts";
import { bytes, type Output } from "./output.ts";
import { subcommand } from "./subcommand.ts";

export const content: Command = {
  name: "content",
  summary: "compare every blob with its digest; give images their names again behind a loss of the database",
  usage: "content verify|recover [options]",
  examples: ["mayfly content verify --repair", "mayfly content recover"],
  words: { min: 1, max: 1 },
  flags: {
    repair: { type: "boolean", help: "verify: remove what is damaged and pull the images that need it" },
    namespace: {
      type: "string",
      short: "n",
      value: "name",
      help: "recover: whose the images become (default: default)",
    },
  },
  async run({ connect, words: [word], flags, output }) {
    const act = subcommand("content", word, ["verify", "recover"]);
    await using connection = await connect();
    if (act === "recover") return await recover(connection, text(flags, "namespace"), output);
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

async function recover({ api }: Connection, namespace: string | undefined, output: Output): Promise<number> {
  const report = await result(api.v1.content.recover.$post({ json: { namespace } }));
  if (output.json) output.line(JSON.stringify(report, undefined, 2));
  else {
    for (const { name, digest, own, missing } of report.images) {
      const called = own ? "by its own annotation" : "its name is lost: mayfly tag gives it another";
      const lacks = missing === 0 ? "" : `; ${missing} blobs are missing: pull it again`;
      output.line(`${name} ${digest} (${called}${lacks})`);
    }
    output.note(`${report.images.length} images have names again, ${report.known} had some`);
    if (report.images.length > 0) {
      output.note("functions, containers, tokens, secrets and tags were in the database alone: make them again");
    }
    if (report.conflict !== undefined) output.note(report.conflict);
  }
  return 0;
}
