import assert from "node:assert/strict";
import { randomFillSync } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { LocalContent } from "../../src/content/store.ts";
import type { ContentStore } from "../../src/core/content.ts";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { parseReference } from "../../src/core/reference.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { Fetcher } from "../../src/images/fetch.ts";
import { Hold } from "../../src/images/hold.ts";
import { PendingWrites } from "../../src/images/pull.ts";
import { temporaryMetadata } from "../metadata/open.ts";
import { HostileRegistry } from "../support/hostile_registry.ts";
import { digestOfBytes } from "../support/layout_folder.ts";

describe("Fetcher", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-fetch-"));
  const distribution = new Registry({
    plainHttp: [],
    credentials: async () => undefined,
    headerTimeoutMs: 5000,
    stallTimeoutMs: 5000,
    retry: { attempts: 1, baseMs: 1, maxMs: 1 },
  });
  let registry: HostileRegistry;
  let store: LocalContent;
  let document: Descriptor;
  let number = 0;
  before(async () => {
    registry = await HostileRegistry.start();
  });
  beforeEach(async () => {
    store = await LocalContent.open(join(folder, String(number++)));
    document = registry.put(mediaTypes.config, { number });
  });
  after(async () => {
    await registry[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const reference = () => parseReference(`${registry.host}/a/b`);
  /** The store, whose disk takes nothing before it may. */
  const slow = (disk: Promise<void>): ContentStore =>
    new Proxy(store, {
      get(target, property) {
        if (property !== "writer") {
          const value = Reflect.get(target, property, target);
          return typeof value === "function" ? value.bind(target) : value;
        }
        return async (...args: Parameters<ContentStore["writer"]>) => {
          await disk;
          return await target.writer(...args);
        };
      },
    });

  it("document() gives what has come to all who ask for it before it is written, and fetch() waits", async () => {
    const disk = Promise.withResolvers<void>();
    const fetcher = new Fetcher(slow(disk.promise), distribution);
    const [one, other] = await Promise.all([1, 2].map(() => fetcher.document(reference(), document, {})));
    const later = await fetcher.document(reference(), document, {});
    for (const each of [one, other, later]) {
      assert.deepEqual(JSON.parse(new TextDecoder().decode(each?.bytes)), { number });
    }
    assert.equal(registry.asked(document.digest), 1);
    await assert.rejects(store.info(document.digest), { code: "not_found" });
    const fetched = fetcher.fetch(reference(), document, {}).then(() => store.info(document.digest));
    disk.resolve();
    assert.equal((await fetched).size, document.size);
    await one?.written;
    assert.equal(await fetcher.document(reference(), document, {}), undefined);
    assert.equal(registry.asked(document.digest), 1);
  });

  it("small layers are given before they are written, as many as memory is for, and large ones never", async () => {
    await using opened = await temporaryMetadata();
    await using hold = await Hold.take(opened.metadata.leases, "default", "test");
    await using writes = new PendingWrites();
    const disk = Promise.withResolvers<void>();
    const fetcher = new Fetcher(slow(disk.promise), distribution);
    const layer = (size: number) => registry.put(mediaTypes.layerGzip, randomFillSync(new Uint8Array(size)));
    const fetch = writes.layers(fetcher, hold, reference(), {});
    const large = fetch(layer(3 << 20));
    const small = Array.from({ length: 4 }, () => layer(2_000_000));
    for (const each of small) assert.equal(digestOfBytes((await fetch(each))!.slice()), each.digest);
    const fifth = layer(2_000_000);
    const late = fetch(fifth);
    for (const each of small) await assert.rejects(store.info(each.digest), { code: "not_found" });
    disk.resolve();
    assert.deepEqual(await Promise.all([large, late]), [undefined, undefined]);
    await writes.done();
    for (const { digest, size } of [...small, fifth]) assert.equal((await store.info(digest)).size, size);
  });

  it("document() tells of what could not be written, and the next one tries again", async () => {
    const disk = Promise.withResolvers<void>();
    const fetcher = new Fetcher(slow(disk.promise), distribution);
    const given = await fetcher.document(reference(), document, {});
    disk.reject(new Error("the disk is gone"));
    await assert.rejects(given?.written ?? Promise.resolve(), /the disk is gone/);
    const again = await new Fetcher(store, distribution).document(reference(), document, {});
    await again?.written;
    assert.equal((await store.info(document.digest)).size, document.size);
  });

  for (
    const [what, body, text] of [
      ["other bytes", (size: number) => new Uint8Array(size).fill(7), /what came for blob sha256:\w+ has the digest/],
      ["fewer bytes", (size: number) => new Uint8Array(size - 1), /\d+/],
      ["more bytes", (size: number) => new Uint8Array(size + 1), /\d+/],
    ] as const
  ) {
    it(`document() refuses ${what}, and keeps nothing`, async () => {
      registry.lie(document.digest, () => ({ status: 200, body: body(document.size) }));
      const fetcher = new Fetcher(store, distribution);
      await assert.rejects(fetcher.document(reference(), document, {}), (error: Error & { code?: string }) => {
        assert.equal(error.code, "data_loss");
        assert.match(error.message, text);
        return true;
      });
      assert.deepEqual(readdirSync(join(folder, String(number - 1), "ingest")), []);
    });
  }
});
