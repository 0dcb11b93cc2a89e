import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Spec } from "../../../src/core/spec.ts";
import { code, type Fixture, image } from "./fixture.ts";
import { generateSpec } from "../../../src/tasks/spec.ts";

/** Programs that are run at the turns of a container's life. */
export function hooks(f: Fixture): void {
  const { it, sh, run } = f;

  /** A container with hooks that note their names, and the state that they are given, in a folder of the host. */
  const noting = (changes: (note: (name: string) => object) => Spec["hooks"]) => {
    const folder = join(f.folder, `hooks-${crypto.randomUUID()}`);
    writeFileSync(folder, "");
    const script = `read -r state; echo "$1 $A $state" >> "$2"`;
    const note = (name: string) => ({
      path: "/bin/sh",
      args: ["sh", "-c", script, "sh", name, name === "startContainer" ? "/notes" : folder],
      env: ["PATH=/bin:/usr/bin", "A=env"],
    });
    const mounts = [
      ...generateSpec({ image, id: "hooks" }).mounts ?? [],
      { destination: "/notes", type: "bind", source: folder, options: ["bind", "rw"] },
    ];
    const options = sh("echo ran >> /notes", { spec: { hooks: changes(note), mounts } });
    const notes = () =>
      readFileSync(folder, "utf8").trim().split("\n").map((line) => {
        const [name = "", env = "", ...state] = line.split(" ");
        return { name, env, state: state.length === 0 ? undefined : JSON.parse(state.join(" ")) };
      });
    return { options, notes };
  };

  it("are run in their order, with the state", async () => {
    const { options, notes } = noting((note) => ({
      prestart: [note("prestart")],
      createRuntime: [note("createRuntime"), note("createRuntime2")],
      createContainer: [note("createContainer")],
      startContainer: [note("startContainer")],
      poststart: [note("poststart")],
      poststop: [note("poststop")],
    } as Spec["hooks"]));
    await run(options);
    const names = notes().map(({ name }) => name);
    // What is done inside, once the container is released, and `poststart` race with each other.
    assert.deepEqual(names.filter((name) => name !== "ran" && name !== "poststart"), [
      "prestart",
      "createRuntime",
      "createRuntime2",
      "createContainer",
      "startContainer",
      "poststop",
    ]);
    assert.ok(names.indexOf("poststart") > names.indexOf("createContainer"));
    assert.ok(names.indexOf("poststart") < names.indexOf("poststop"));
    assert.ok(names.indexOf("ran") > names.indexOf("startContainer"));
    for (const { name, env, state } of notes()) {
      if (name === "ran") continue;
      assert.equal(env, "env");
      assert.equal(state.id, options.id);
      assert.equal(typeof state.bundle, "string");
      assert.match(state.ociVersion, /^1\./);
    }
  });

  it("are told of a state that is true", async () => {
    const { options, notes } = noting((note) => ({
      createRuntime: [note("createRuntime")],
      createContainer: [note("createContainer")],
      poststart: [note("poststart")],
      poststop: [note("poststop")],
    } as Spec["hooks"]));
    await run(options);
    const states = new Map(notes().map(({ name, state }) => [name, state]));
    for (const name of ["createRuntime", "createContainer"]) {
      assert.ok(states.get(name).pid > 0, name);
      assert.match(states.get(name).status, /^creat(?:ing|ed)$/);
    }
    assert.equal(states.get("poststart").status, "running");
    assert.equal(states.get("poststop").status, "stopped");
  });

  for (const kind of ["prestart", "createRuntime", "createContainer", "startContainer"] as const) {
    it(`keep a container from being, where one fails: ${kind}`, async () => {
      const failing = { path: "/bin/false", args: ["false"] };
      const { options, notes } = noting((
        note,
      ) => ({ [kind]: [failing], poststop: [note("poststop")] } as Spec["hooks"]));
      await assert.rejects(run(options));
      assert.ok(!notes().some(({ name }) => name === "ran"));
      assert.deepEqual(f.runtime.tasks(), []);
    });
  }

  it("are killed after their time", async () => {
    const slow = { path: "/bin/sleep", args: ["sleep", "60"], timeout: 1 };
    const options = sh("true", { spec: { hooks: { createRuntime: [slow] } } });
    await assert.rejects(
      run(options),
      code("deadline_exceeded", "failed_precondition", "invalid_argument", "internal"),
    );
  });
}
