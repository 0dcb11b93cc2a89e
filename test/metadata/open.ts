import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMetadata, type OpenMetadataOptions } from "../../src/metadata/metadata.ts";

/** A folder that is removed when the test's scope ends. */
export function temporaryRoot(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "mayfly-metadata-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Metadata in a root folder of its own. */
export async function temporaryMetadata(options: Omit<OpenMetadataOptions, "root"> = {}) {
  await using stack = new AsyncDisposableStack();
  const root = stack.use(temporaryRoot());
  const metadata = stack.use(await openMetadata({ root: root.path, ...options }));
  const owned = stack.move();
  return { metadata, root: root.path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
