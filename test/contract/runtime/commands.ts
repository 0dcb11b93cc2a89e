import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codeOf, type ErrorCode } from "../../../src/core/errors.ts";
import type { Task } from "../../../src/core/task.ts";
import type { Fixture } from "./fixture.ts";

/** How a command that cannot be executed is told. */
export function commands(f: Fixture): void {
  const { it, specOf, run } = f;
  const table: readonly (readonly [what: string, args: readonly string[], code: ErrorCode, exitCode: number])[] = [
    ["is not in PATH", ["nonesuch"], "not_found", 127],
    ["is not at its path", ["/bin/nonesuch"], "not_found", 127],
    ["has no interpreter", ["/bin/lost"], "not_found", 127],
    ["is not executable", ["/etc/passwd"], "permission_denied", 126],
    ["is not executable in PATH", ["plain"], "permission_denied", 126],
    ["is a folder", ["/etc"], "permission_denied", 126],
    ["is no program", ["/bin/noise"], "permission_denied", 126],
  ];
  for (const [what, args, wanted, exitCode] of table) {
    it(`start() tells of one that ${what}`, async () => {
      writeFileSync(join(f.root, "bin/lost"), "#!/no/interpreter\n");
      writeFileSync(join(f.root, "bin/noise"), "\0\0\0\0");
      writeFileSync(join(f.root, "bin/plain"), "text");
      chmodSync(join(f.root, "bin/lost"), 0o755);
      chmodSync(join(f.root, "bin/noise"), 0o755);
      const options = specOf(args, { process: { env: ["PATH=/sbin:/bin:/usr/bin"] } });
      let task: Task | undefined;
      const start = async () => {
        task = await f.runtime.create(options);
        await task.start();
      };
      // Some look for it when they create the container.
      await assert.rejects(start, (error: unknown) => {
        assert.equal(codeOf(error), wanted, String(error));
        assert.equal((error as { details?: { exitCode?: number } }).details?.exitCode, exitCode);
        return true;
      });
      assert.equal(await task?.delete(), undefined);
      assert.deepEqual(f.runtime.tasks(), []);
    });
  }

  it("are looked for in every folder of PATH", async () => {
    const env = ["PATH=/nowhere:/etc:/bin"];
    assert.equal((await run(specOf(["echo", "found"], { process: { env } }))).stdout, "found\n");
  });
}
