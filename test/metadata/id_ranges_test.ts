import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { idRangeSize } from "../../src/core/id_range.ts";
import { temporaryMetadata } from "./open.ts";

const idRanges = { first: 1_000_000, count: 3 };
const range = (at: number) => ({ first: idRanges.first + at * idRangeSize, size: idRangeSize });

describe("ranges of ids", () => {
  it("are a namespace's own, from the first time on", async () => {
    await using opened = await temporaryMetadata({ idRanges });
    const { idRanges: ranges } = opened.metadata;
    assert.deepEqual(await ranges.take("a"), range(0));
    assert.deepEqual(await ranges.take("b"), range(1));
    assert.deepEqual(await ranges.take("a"), range(0));
  });

  it("that have become free are the last to be taken again", async () => {
    await using opened = await temporaryMetadata({ idRanges });
    const { metadata } = opened;
    await metadata.namespaces.ensure("a");
    assert.deepEqual(await metadata.idRanges.take("a"), range(0));
    await metadata.namespaces.delete("a");
    assert.deepEqual(await metadata.idRanges.take("b"), range(1));
    assert.deepEqual(await metadata.idRanges.take("c"), range(2));
    assert.deepEqual(await metadata.idRanges.take("d"), range(0));
  });

  it("are different for those who take at the same time", async () => {
    await using opened = await temporaryMetadata({ idRanges });
    const { idRanges: ranges } = opened.metadata;
    const taken = await Promise.all(["a", "b", "c", "a", "b", "c"].map((name) => ranges.take(name)));
    assert.equal(new Set(taken.map(({ first }) => first)).size, 3);
    assert.deepEqual(taken.slice(0, 3), taken.slice(3));
  });

  it("end, and are free again when their namespace is deleted", async () => {
    await using opened = await temporaryMetadata({ idRanges });
    const { metadata } = opened;
    for (const name of ["a", "b", "c"]) {
      await metadata.namespaces.ensure(name);
      await metadata.idRanges.take(name);
    }
    await assert.rejects(metadata.idRanges.take("d"), (error) => {
      assert.equal(codeOf(error), "resource_exhausted");
      assert.match(String(error), /all 3 from 1000000 on are in use: delete a namespace, or configure more/);
      return true;
    });
    await metadata.namespaces.delete("b");
    assert.deepEqual(await metadata.idRanges.take("d"), range(1));
  });
});
