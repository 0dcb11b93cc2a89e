import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { pipeline } from "node:stream/promises";
import { Failure } from "../core/errors.ts";
import { result } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const load: Command = {
  name: "load",
  summary: "take in the images of an archive that docker save, podman save or mayfly save wrote",
  usage: "load [options]",
  examples: ["mayfly load -i tools.tar", "docker save tool:1 | mayfly load"],
  flags: { ...namespaceFlag, input: { type: "string", short: "i", value: "path", help: "default stdin" } },
  async run({ connect, flags, output }) {
    const from = text(flags, "input");
    if (from === undefined && process.stdin.isTTY) {
      throw new Failure("invalid_argument", "cannot load from a terminal: name a file with -i, or pipe one in");
    }
    await using connection = await connect();
    const take = async (path: string) => {
      const { items } = await result(connection.api.v1.images.import.$post({ query: scope(flags), json: { path } }));
      if (output.json) output.line(JSON.stringify(items, undefined, 2));
      else for (const image of items) output.line(`Loaded image: ${image.name}`);
    };
    if (from !== undefined) {
      await take(resolve(from));
      return 0;
    }
    const folder = await mkdtemp(join(tmpdir(), "mayfly-load-"));
    try {
      const archive = join(folder, "images.tar");
      await pipeline(process.stdin, createWriteStream(archive));
      await take(archive);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return 0;
  },
};
