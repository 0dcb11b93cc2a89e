/**
 * The main job from nothing: make an image, import it, deploy it, send it a file over HTTP, and look at what happened.
 * Needs root and npm's packages; no daemon, registry or other tool. Everything it makes is gone when it ends.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Invocation, Phase } from "../../src/core/invocation.ts";
import { currentHost } from "../../src/host/mod.ts";
import { perform, Stage } from "../stage.ts";
import { makeImage } from "./image.ts";
import { waterfall } from "./waterfall.ts";

const input = fileURLToPath(new URL("mayfly.ts", import.meta.url));
const requests = 5;
const say = (text = "") => console.log(text);

await perform(async () => {
  const host = await currentHost();
  say(`
       ,/)
    o<=##==---~   mayfly on ${host.name} ${host.version}
       '\\)        one request, one container, one short life`);

  const life: Phase[] = [];
  const began = performance.now();
  const timed = async <T>(name: string, work: () => Promise<T> | T): Promise<T> => {
    const start = performance.now();
    const value = await work();
    life.push({ name, startMs: start - began, durationMs: performance.now() - start });
    return value;
  };

  await using stage = await timed("daemon", () => Stage.open(host));
  const layout = join(stage.folder, "layout");
  await timed("image", () => makeImage(layout, "minify:latest"));
  await timed("import", () => stage.admin("POST", "/v1/images/import", { path: layout, name: "minify:latest" }));
  await timed("deploy", () =>
    stage.admin("PUT", "/v1/functions/minify", {
      image: "minify:latest",
      command: ["/esbuild", "--minify", "--loader=ts"],
      contentType: "text/javascript",
    }));

  const source = readFileSync(input);
  say(`\n  $ curl --data-binary @examples/minify/mayfly.ts ${stage.url}/fn/minify\n`);
  let answer = "";
  let id = "";
  const trips: string[] = [];
  for (let i = 0; i < requests; i++) {
    const start = performance.now();
    const response = await fetch(`${stage.url}/fn/minify`, { method: "POST", body: source });
    answer = await response.text();
    trips.push((performance.now() - start).toFixed(1));
    if (!response.ok) throw new Error(`the function answered ${response.status}: ${answer}`);
    id = response.headers.get("x-mayfly-invocation") ?? "";
  }
  for (const line of answer.trim().match(/.{1,96}/gs) ?? []) say(`    ${line}`);
  say(
    `\n  ${source.length} bytes of TypeScript in, ${answer.length} of JavaScript out, by a container that is no more.`,
  );

  const { phases, exitCode } = await stage.admin<Invocation>("GET", `/v1/invocations/${id}`);
  say("\n  once, before the first request");
  for (const line of waterfall(life)) say(`    ${line}`);
  say(`\n  one life: invocation ${id}, exit code ${exitCode}`);
  for (const line of waterfall(phases)) say(`    ${line}`);
  say(`\n  ${requests} requests, ${requests} containers, as the client sees them: ${trips.join(", ")} ms.`);
  say("  A real mayfly gets a day.\n");
});
