import { toText } from "./byte_string.ts";
import { Files } from "./files.ts";
import type { Kernel } from "./kernel.ts";
import { Slice } from "./slice.ts";

/** So much is read at once, as `Files.list` counts: under 200 digests, which take a millisecond or two. */
const partBytes = 16 << 10;

/**
 * The names in a folder, in the order of the filesystem, some at a time, with turns of the event loop between
 * them. The hosts' own ways give all in one piece, or most: of 100,000 names, Deno stands still for 0.1 to 0.7 s.
 * @throws not_found; failed_precondition where it is no folder.
 */
export async function* folderNames(kernel: Kernel, path: string): AsyncGenerator<readonly string[]> {
  using files = new Files(kernel);
  const folder = files.openFolder(path);
  try {
    const slice = new Slice();
    for (let entries; (entries = files.list(folder, partBytes)) !== undefined;) {
      yield entries.map(({ name }) => toText(name));
      if (slice.over) await slice.next();
    }
  } finally {
    files.close(folder);
  }
}
