import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { Images } from "../../src/images/images.ts";
import { type Progress, sparsely } from "../../src/images/progress.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { EventBus } from "../../src/monitoring/events.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { startRegistry } from "../support/registry.ts";
import { openRoom } from "./room.ts";
import { tarOf } from "./tar_bytes.ts";

describe("the progress of layers", () => {
  it("is told when a phase begins, and seldom while it goes on", () => {
    const told: Progress[] = [];
    const tell = sparsely((step) => told.push(step));
    const step = (hex: string, phase: Progress["phase"], bytes: number) =>
      tell({ digest: `sha256:${hex.repeat(64)}`, phase, bytes, total: 9 });
    for (let bytes = 0; bytes < 9; bytes++) for (const layer of ["a", "b"]) step(layer, "download", bytes);
    step("a", "done", 9);
    step("a", "unpack", 1);
    assert.deepEqual(told.map(({ digest, phase, bytes }) => `${digest.at(-1)} ${phase} ${bytes}`), [
      "a download 0",
      "b download 0",
      "a done 9",
      "a unpack 1",
    ]);
  });

  it("is an event of a pull, an unpack and a push", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-progress-"));
    await using registry = await startRegistry();
    await using room = await openRoom(join(folder, "root"));
    const events = new EventBus((error) => assert.fail(String(error)));
    const distribution = new Registry({
      plainHttp: [],
      credentials: async () => undefined,
      headerTimeoutMs: 5000,
      stallTimeoutMs: 5000,
      retry: { attempts: 1, baseMs: 1, maxMs: 1 },
    });
    const images = new Images({ ...room, distribution, host: await currentHost(), events });
    const layout = new LayoutFolder(join(folder, "layout"));
    const made = layout.image([tarOf({ path: "a", content: "a" }), tarOf({ path: "b", content: "b" })]);
    layout.name({ one: made });
    await registry.push(`oci:${layout.path}:one`, "t/one:1");
    const name = `${registry.host}/t/one:1`;
    const image = await images.pull("team", name);
    const { manifestDigest, layers } = await images.config(image.target);
    await images.unpack(manifestDigest, "overlay", { image: { namespace: "team", name } });
    await images.push("team", name, { to: `${registry.host}/t/two:1` });
    const told = events.since({ opening: 1, number: 0 }).events.filter(({ topic }) => topic === "/layers/progress");
    for (
      const [operation, phases] of [["pull", ["done"]], ["unpack", ["unpack", "done"]], ["push", ["mounted"]]] as const
    ) {
      for (const { descriptor: { digest, size } } of layers) {
        for (const phase of phases) {
          const one = told.find(({ data }) =>
            data["operation"] === operation && data["digest"] === digest && data["phase"] === phase
          );
          assert.ok(one, `${operation} ${phase}: ${JSON.stringify(told.map(({ data }) => data))}`);
          assert.equal(one.namespace, "team");
          assert.equal(one.data["total"], size);
          assert.equal(one.data["name"], operation === "push" ? `${registry.host}/t/two:1` : name);
        }
      }
    }
    rmSync(folder, { recursive: true, force: true });
  });
});
