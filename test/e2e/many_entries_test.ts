/** A layer of a few MB that has a million entries: it is unpacked, or refused, in bounded memory. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { blocks, joined } from "../images/tar_bytes.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";

const entries = 1_000_000;
const pieces = 100;
/** What the daemon may grow by, its threads included. */
const mostMiB = 192;

describe("a layer of a million empty entries", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-entries-"));
  let daemon: MayflyProcess;
  before(async () => {
    daemon = await MayflyProcess.start(folder);
  });
  after(async () => {
    await daemon?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const memoryMiB = (field: "VmRSS" | "VmHWM") => {
    const status = readFileSync(`/proc/${daemon.child.pid}/status`, "utf8");
    return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1]) / 1024;
  };

  it("is unpacked, and the daemon does not grow with it", async () => {
    const entry = joined(blocks({ path: "./", type: "5" }));
    const piece = joined(Array.from({ length: entries / pieces }, () => entry));
    const end = new Uint8Array(1024);
    const hash = createHash("sha256");
    for (let i = 0; i < pieces; i++) hash.update(piece);
    const diffId = `sha256:${hash.update(end).digest("hex")}`;
    // One after the other, they are one: RFC 1952 says so.
    const packed = gzipSync(piece, { level: 1 });
    const blob = joined([
      ...Array.from({ length: pieces }, () => new Uint8Array(packed)),
      new Uint8Array(gzipSync(end)),
    ]);
    const layout = new LayoutFolder(join(folder, "layout"));
    const image = layout.imageOf([layout.put(mediaTypes.layerGzip, blob)], [], { diffIds: [diffId] });
    const imported = await daemon.admin("POST", "/v1/images/import", { path: layout.name({ "many:1": image }) });
    assert.equal(imported.status, 201, await imported.text());

    const before = memoryMiB("VmRSS");
    const answer = await daemon.admin("PUT", "/v1/functions/many", { image: "many:1", command: ["/x"] });
    // All of it has been unpacked when its command is looked for.
    assert.match(await answer.text(), /cannot run command \\"\/x\\": it is not in the image/);
    const grown = memoryMiB("VmHWM") - before;
    assert.ok(grown < mostMiB, `it grew by ${grown.toFixed()} MiB`);
  });
});
