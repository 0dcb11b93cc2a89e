import { setImmediate } from "node:timers";

/** Rows of one page: the driver reads them, and parses their JSON, in one turn of the event loop. */
const pageLength = 100;

/**
 * Reads all rows, a page at a time; the event loop turns between them. What is written meanwhile may be missing.
 * @param read the rows behind another one, in the order of a key.
 */
export async function paged<Row>(
  read: (last: Row | undefined, limit: number) => Promise<readonly Row[]>,
): Promise<Row[]> {
  const rows: Row[] = [];
  while (true) {
    const page = await read(rows.at(-1), pageLength);
    rows.push(...page);
    if (page.length < pageLength) return rows;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
