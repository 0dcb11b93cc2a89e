import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { LayoutFolder } from "../support/layout_folder.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";
import { RegistryClient, registryEnv, tokens } from "./client.ts";

const run = promisify(execFile);
const rounds = 4;
const images = 3;

/** A number from 0 to 1 that is the same in every run. */
function* moments(seed: number): Generator<number, never> {
  for (let state = seed;;) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    yield state / 0x7fffffff;
  }
}

describe("a registry that is killed while images are pushed", () => {
  it("has every tag that it names as a whole, and nothing else but uploads that can go on", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-push-"));
    const start = async () => {
      const daemon = await MayflyProcess.start(folder, ["--registry-listen", "127.0.0.1:0"], registryEnv);
      const host = await until(() => /listens on http:\/\/(\S+)\/v2\//.exec(daemon.log())?.[1]);
      return { daemon, host, client: new RegistryClient(host) };
    };
    const random = moments(7);
    const login = `default:${tokens.default}`;
    try {
      let whole = 0;
      for (let round = 0; round < rounds; round++) {
        const layouts = Array.from({ length: images }, (_, i) => {
          const layout = new LayoutFolder(join(folder, `layout-${round}-${i}`));
          const layers = Array.from({ length: 3 }, () => randomFillSync(new Uint8Array(2 << 20)));
          layout.name({ image: layout.image(layers, { zstd: false }) });
          return layout.path;
        });
        {
          const { daemon, host } = await start();
          await using _ = daemon;
          const push = (layout: string, tag: number) =>
            run("skopeo", [
              ...["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", `--dest-creds=${login}`],
              ...[`oci:${layout}:image`, `docker://${host}/crash/app:${tag}`],
            ]);
          const pushing = Promise.allSettled(layouts.map((layout, i) => push(layout, round * images + i)));
          await new Promise((go) => setTimeout(go, random.next().value * 400));
          await daemon.end("SIGKILL");
          await pushing;
        }
        const { daemon, host, client } = await start();
        await using _ = daemon;
        const listed = await client.ask("GET", "crash/app/tags/list");
        const tags: string[] = listed.status === 200 ? JSON.parse(await listed.text()).tags : [];
        whole = tags.length;
        for (const tag of tags) {
          const copy = join(folder, "copy");
          mkdirSync(copy);
          await run("skopeo", [
            ...["--insecure-policy", "copy", "-q", "--src-tls-verify=false", `--src-creds=${login}`],
            ...[`docker://${host}/crash/app:${tag}`, `dir:${copy}`],
          ]);
          rmSync(copy, { recursive: true });
        }
        const ingests = join(folder, "root/content/ingest");
        for (const id of readdirSync(ingests)) assert.ok(readdirSync(join(ingests, id)).includes("ref"), id);
        assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
      }
      // The last push is not killed.
      const { daemon, client } = await start();
      await using _ = daemon;
      await client.artifact("crash/app", "after all", { reference: "last" });
      assert.equal(JSON.parse((await client.expect(200, "GET", "crash/app/tags/list")).text).tags.length, whole + 1);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
