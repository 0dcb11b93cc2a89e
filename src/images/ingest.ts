import type { ContentStore, ExpectedContent } from "../core/content.ts";
import { type Digest, digestOf } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import type { Hold } from "./hold.ts";

/** Names of ingests of what comes from this machine begin with it: nobody goes on with one of them. */
export const importPrefix = "import-";

/**
 * Takes bytes into the content store and holds them.
 * @throws data_loss when they are not what was expected.
 */
export async function ingest(
  content: ContentStore,
  hold: Hold,
  bytes: AsyncIterable<Uint8Array>,
  expected: ExpectedContent = {},
): Promise<Digest> {
  if (expected.digest !== undefined) await hold.content(expected.digest);
  const ref = `${importPrefix}${crypto.randomUUID()}`;
  try {
    await using ingest = await content.writer(ref, expected);
    for await (const chunk of bytes) await ingest.write(chunk);
    return (await ingest.commit({}, { hold: (digest) => hold.content(digest) })).digest;
  } catch (error) {
    // What came from disk is read again from its start the next time: nothing of it is kept, least of all on a full disk.
    await content.abort(ref).catch(() => {});
    if (codeOf(error) === "already_exists" && expected.digest !== undefined) return expected.digest;
    if (codeOf(error) !== "failed_precondition" || expected.digest === undefined) throw error;
    throw new Failure("data_loss", `cannot import ${expected.digest}: the bytes on disk are not what it names`, {
      cause: error,
    });
  }
}

/** Takes in a document that is in memory. */
export async function ingestBytes(content: ContentStore, hold: Hold, bytes: Uint8Array<ArrayBuffer>): Promise<Digest> {
  const digest = await digestOf(bytes);
  return await ingest(content, hold, one(bytes), { digest, size: bytes.length });
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
