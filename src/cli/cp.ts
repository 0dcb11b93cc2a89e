import { existsSync, lstatSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { create, extract } from "tar";
import { Failure } from "../core/errors.ts";
import { done, result, succeeded } from "./answer.ts";
import type { Command, CommandContext } from "./command.ts";
import type { Connection } from "./connection.ts";
import { namespaceFlag } from "./flags.ts";
import { ofContainer } from "./named.ts";
import { standardInput } from "./stdin.ts";

export const cp: Command = {
  name: "cp",
  summary: "copy files and folders out of a container or into one, whether it runs or not",
  usage: "cp [options] <container>:<path> <path>|-\n  mayfly cp [options] <path>|- <container>:<path>",
  examples: [
    "mayfly cp web:/etc/nginx ./nginx",
    "mayfly cp site.conf web:/etc/nginx/conf.d/",
    "mayfly cp web:/var/log - | tar t            # - is a tar archive",
  ],
  words: { min: 2, max: 2 },
  flags: namespaceFlag,
  async run(context) {
    const { words: [from = "", to = ""], connect } = context;
    const [source, target] = [inContainer(from), inContainer(to)];
    if ((source === undefined) === (target === undefined)) {
      throw new Failure(
        "invalid_argument",
        `mayfly cp: one of the two has to be in a container\nusage: mayfly ${cp.usage}`,
      );
    }
    await using connection = await connect();
    if (source !== undefined) await copyOut(context, connection, source, to);
    else if (target !== undefined) await copyIn(context, connection, from, target);
    return 0;
  },
};

/** Of a file's mode. @see https://man7.org/linux/man-pages/man7/inode.7.html */
const fileType = 0o170000;
const folderType = 0o040000;

interface Place {
  readonly id: string;
  readonly path: string;
}

/** `web:/etc` → a place; a path on this machine has a slash before its first colon, or no colon. */
function inContainer(text: string): Place | undefined {
  const match = /^([^/:]+):(.+)$/.exec(text);
  return match === null ? undefined : { id: match[1] ?? "", path: match[2] ?? "" };
}

async function copyOut({ flags, output }: CommandContext, { api }: Connection, { id, path }: Place, to: string) {
  const { param, query } = ofContainer(id, flags);
  const answer = await succeeded(api.v1.containers[":id"].archive.$get({ param, query: { ...query, path } }));
  const archive = answer.body ?? new ReadableStream<Uint8Array>();
  if (to === "-") {
    for await (const chunk of archive) await output.bytes(chunk);
    return;
  }
  // Into a folder that is there, by its own name; else under the new one.
  const inside = existsSync(to) && statSync(to).isDirectory();
  const cwd = inside ? to : dirname(resolve(to));
  if (!existsSync(cwd)) {
    throw new Failure("not_found", `cannot copy to ${JSON.stringify(to)}: there is no folder "${cwd}"`);
  }
  const name = basename(resolve(to));
  const unpack = extract({
    cwd,
    preserveOwner: false,
    onReadEntry(entry) {
      if (!inside) entry.path = entry.path.replace(/^\/*[^/]+/, name);
    },
  });
  await pipeline(Readable.from(buffers(archive)), unpack as unknown as NodeJS.WritableStream);
}

/** The package reads texts out of Node's own kind of bytes alone. */
async function* buffers(stream: ReadableStream<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const { buffer, byteOffset, byteLength } of stream) yield Buffer.from(buffer, byteOffset, byteLength);
}

async function copyIn({ flags }: CommandContext, connection: Connection, from: string, { id, path }: Place) {
  const { api } = connection;
  if (from === "-") return await put(ofContainer(id, flags), connection, path, standardInput());
  try {
    lstatSync(from);
  } catch (cause) {
    throw new Failure("not_found", `cannot copy ${JSON.stringify(from)}: it is not there`, { cause });
  }
  const { param, query } = ofContainer(id, flags);
  // Into a folder that is there, by its own name; else under the new one.
  const there = await result(api.v1.containers[":id"].archive.stat.$get({ param, query: { ...query, path } })).catch(
    () => undefined,
  );
  const inside = path.endsWith("/") || (there !== undefined && (there.mode & fileType) === folderType);
  const name = basename(resolve(from));
  const archive = create({
    cwd: dirname(resolve(from)),
    portable: false,
    onWriteEntry(entry) {
      if (!inside) entry.path = join(basename(path), entry.path.slice(name.length));
    },
  }, [name]);
  const body = Readable.toWeb(Readable.from(archive as unknown as AsyncIterable<Uint8Array>));
  await put(
    ofContainer(id, flags),
    connection,
    inside ? path : dirname(path),
    body as unknown as ReadableStream<Uint8Array>,
  );
}

async function put(
  { param, query }: ReturnType<typeof ofContainer>,
  { api }: Connection,
  path: string,
  body: ReadableStream<Uint8Array>,
): Promise<void> {
  const init = { body, duplex: "half", headers: { "content-type": "application/x-tar" } };
  await done(api.v1.containers[":id"].archive.$put({ param, query: { ...query, path } }, { init }));
}
