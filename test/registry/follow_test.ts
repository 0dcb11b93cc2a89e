import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";
import { World } from "../support/world.ts";
import { registryEnv, registryFlags, tokens } from "./client.ts";

const run = promisify(execFile);

interface Deployed {
  readonly revision: number;
  readonly digest: string;
}

/** Images that say which they are. */
function makeImages(folder: string): (version: string) => string {
  return (version) => {
    mkdirSync(join(folder, version));
    return makeBusyboxImage(join(folder, version), "app", { Env: ["PATH=/bin", `VERSION=${version}`] });
  };
}

describe("a function that follows its image", () => {
  let world: World;
  let folder: string;
  let push: (layout: string, name: string) => Promise<unknown>;
  let one: string;
  let two: string;
  before(async () => {
    world = await World.open(registryFlags, registryEnv);
    folder = mkdtempSync(join(tmpdir(), "mayfly-follow-"));
    const make = makeImages(folder);
    [one, two] = [make("one"), make("two")];
    const access = ["--dest-tls-verify=false", `--dest-creds=default:${tokens.default}`];
    push = (layout, name) =>
      run("skopeo", [
        "--insecure-policy",
        "copy",
        ...access,
        `oci:${layout}:app`,
        `docker://${world.registry}/${name}`,
      ]);
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const deployed = (name: string) => world.admin<Deployed>("GET", `/v1/functions/${name}`);
  const version = async (name: string) => (await world.curl(`/fn/${name}`, "-d", "")).body.trim();

  it("runs what is pushed next; what runs goes on with what it began with", async () => {
    await push(one, "app:1");
    // It says its version when its input has ended.
    const command = ["/bin/sh", "-c", "cat > /dev/null; echo $VERSION"];
    const image = `${world.registry}/app:1`;
    await world.admin("PUT", "/v1/functions/follows", { image, command, follow: true });
    await world.admin("PUT", "/v1/functions/stays", { image, command });
    assert.equal(await version("follows"), "one");

    const input = Promise.withResolvers<void>();
    const body = new ReadableStream<Uint8Array>({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode("begin"));
        await input.promise;
        controller.close();
      },
    });
    const init: RequestInit & { duplex: "half" } = { method: "POST", body, duplex: "half" };
    const running = fetch(`${world.url}/fn/follows`, init);
    await until(async () => await world.running() === 1);

    await push(two, "app:1");
    await until(async () => (await deployed("follows")).revision === 2);
    assert.equal(await version("follows"), "two");
    assert.deepEqual([(await deployed("stays")).revision, await version("stays")], [1, "one"]);
    input.resolve();
    assert.equal((await (await running).text()).trim(), "one");
  });

  it("stays as it is where the new image cannot run", async () => {
    await push(one, "broken:1");
    const settings = { image: "localhost/broken:1", command: ["/bin/sh", "-c", "echo $VERSION"], follow: true };
    await world.admin("PUT", "/v1/functions/broken", settings);
    const before = await deployed("broken");
    const platform = ["--override-arch", "arm64"];
    const access = ["--dest-tls-verify=false", `--dest-creds=default:${tokens.default}`];
    const foreign = join(folder, "foreign");
    mkdirSync(foreign);
    const layout = makeBusyboxImage(foreign, "app");
    // Another machine's image, by its configuration alone.
    const other = new LayoutFolder(layout);
    other.name({ app: other.image([new Uint8Array(1024)], { architecture: "arm64" }) });
    const to = `docker://${world.registry}/broken:1`;
    await run("skopeo", ["--insecure-policy", ...platform, "copy", ...access, `oci:${layout}:app`, to]);
    await push(two, "broken:2");
    assert.deepEqual(await deployed("broken"), before);
    assert.equal(await version("broken"), "one");
    // The next one that can run is taken.
    await push(two, "broken:1");
    await until(async () => await version("broken") === "two");
  });
});

describe("a daemon that starts", () => {
  it("rolls functions forward whose image has changed meanwhile", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mayfly-follow-"));
    try {
      const make = makeImages(folder);
      const imported = (layout: string) =>
        mayfly(["import", layout, "--name", "localhost/app:1", ...stateFlags(folder)]);
      assert.equal((await imported(make("one"))).code, 0);
      {
        await using daemon = await MayflyProcess.start(folder);
        const answer = await daemon.admin("PUT", "/v1/functions/app", {
          image: "localhost/app:1",
          command: ["/bin/sh", "-c", "echo $VERSION"],
          follow: true,
        });
        assert.equal(answer.status, 201, await answer.text());
        await daemon.end("SIGKILL");
      }
      assert.equal((await imported(make("two"))).code, 0);
      await using daemon = await MayflyProcess.start(folder);
      await until(async () => {
        const answer = await fetch(`${daemon.url}/fn/app`, { method: "POST" });
        return (await answer.text()).trim() === "two";
      });
      assert.equal(await daemon.end("SIGTERM"), 0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
