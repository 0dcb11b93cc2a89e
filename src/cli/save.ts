import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { Failure } from "../core/errors.ts";
import { done } from "./answer.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";

export const save: Command = {
  name: "save",
  summary: "write images to an archive that docker load, podman load and every reader of OCI layouts take",
  usage: "save [options] <reference>…",
  examples: ["mayfly save -o tools.tar tool:1 tool:2", "mayfly save tool:1 | docker load"],
  words: { min: 1, max: 100 },
  flags: {
    ...namespaceFlag,
    output: {
      type: "string",
      short: "o",
      value: "path",
      help: "a .tar, or a folder for an OCI layout; default stdout",
    },
  },
  async run({ connect, words: names, flags, output }) {
    const to = text(flags, "output");
    if (to === undefined && process.stdout.isTTY) {
      throw new Failure("invalid_argument", "cannot save to a terminal: name a file with -o, or pipe it on");
    }
    await using connection = await connect();
    const write = (path: string) =>
      done(connection.api.v1.images.export.$post({ query: scope(flags), json: { name: [...names], path } }));
    if (to !== undefined) {
      await write(resolve(to));
      output.note(`wrote ${resolve(to)}`);
      return 0;
    }
    const folder = await mkdtemp(join(tmpdir(), "mayfly-save-"));
    try {
      const archive = join(folder, "images.tar");
      await write(archive);
      for await (const chunk of createReadStream(archive)) await output.bytes(chunk);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return 0;
  },
};
