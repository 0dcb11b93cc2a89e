import assert from "node:assert/strict";
import { type Fixture, MiB, text } from "./fixture.ts";

/** The three standard streams. */
export function streams(f: Fixture): void {
  const { it, specOf, sh, run, output } = f;
  it("carry 16 MiB through, unchanged", async () => {
    const input = Uint8Array.from({ length: 16 * MiB }, (_, index) => index % 251);
    const task = await f.runtime.create(specOf(["cat"]));
    await task.start();
    const writer = task.stdin?.getWriter();
    const written = writer?.write(input).then(() => writer.close());
    const received = new Uint8Array(await new Response(task.stdout).arrayBuffer());
    await written;
    assert.equal(Buffer.compare(input, received), 0);
    assert.equal((await task.delete())?.code, 0);
  });

  it("are apart from each other", async () => {
    const { stdout, stderr } = await run(sh("cat; echo error >&2"), "in\n");
    assert.equal(stdout, "in\n");
    assert.equal(stderr, "error\n");
  });

  it("come as they are written", async () => {
    const task = await f.runtime.create(sh("echo one; read line; echo two"));
    await task.start();
    const reader = task.stdout?.getReader();
    assert.equal(new TextDecoder().decode((await reader?.read())?.value), "one\n");
    const writer = task.stdin?.getWriter();
    await writer?.write(new TextEncoder().encode("\n"));
    assert.equal(new TextDecoder().decode((await reader?.read())?.value), "two\n");
    assert.equal((await reader?.read())?.done, true);
    await writer?.close().catch(() => {});
    await task.delete();
  });

  it("are /dev/null where no pipe is asked for", async () => {
    const stdio = { stdin: false, stdout: true, stderr: false };
    const task = await f.runtime.create({ ...sh("cat; readlink /proc/self/fd/0; echo x >&2"), stdio });
    assert.equal(task.stdin, undefined);
    assert.equal(task.stderr, undefined);
    await task.start();
    assert.match(await text(task.stdout), /^\/(?:dev\/)?null\n$/);
    assert.equal((await task.delete())?.code, 0);
  });

  it("can be opened again by their names, by any user", async () => {
    assert.equal(await output("echo x > /dev/stdout", { settings: { user: "1000:1000" } }), "x");
  });
}
