import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { sameHost } from "../support/same_host.ts";

/** What an example prints, on the host that runs this test. */
async function run(example: string): Promise<string> {
  const [program, ...args] = await sameHost(fileURLToPath(new URL(`../../examples/${example}`, import.meta.url)));
  const { status, stdout, stderr } = spawnSync(program ?? "", args, { encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, "");
  return stdout;
}

describe("examples", () => {
  it("minify prints its answer and the phases of one life", async () => {
    const text = await run("minify/demo.ts");
    assert.match(text, /export class Mayfly\{/);
    assert.match(text, /exit code 0/);
    const phases = [...text.matchAll(/^ {4}(\S+(?: \S+)?) {2}.*\d ms/gm)].map(([, name]) => name?.trim());
    for (const phase of ["import", "prepare", "create", "start", "first byte", "exit", "cleanup"]) {
      assert.ok(phases.includes(phase), `${phase} is not in ${phases}`);
    }
  });

  it("client sees a container from its creation to its removal", async () => {
    assert.match(
      await run("client/demo.ts"),
      /is created since .*\n.*exit code 0 and said: \d+\.\d+\.\d+\n1 removed\n$/,
    );
  });

  it("otel draws three requests as one trace", async () => {
    const text = await run("otel/demo.ts");
    const requests = [...text.matchAll(/^ {2}[├└]─ (\S+) .* process\.exit\.code=0$/gm)].map(([, name]) => name);
    assert.deepEqual(requests, ["strip-types", "lower", "minify"]);
    assert.equal(text.match(/─ cleanup /g)?.length, 3);
  });
});
