import assert from "node:assert/strict";
import process from "node:process";
import { it } from "node:test";
import type { ImageConfig } from "../../../src/core/descriptor.ts";
import { codeOf, type ErrorCode } from "../../../src/core/errors.ts";
import type { Rootfs } from "../../../src/core/mount.ts";
import type { CreateTask, Runtime, TaskEvent } from "../../../src/core/runtime.ts";
import type { Spec, SpecProcess } from "../../../src/core/spec.ts";
import { type Abilities, type Ability, demand, type Exit, type Task } from "../../../src/core/task.ts";
import { generateSpec, type SpecSettings } from "../../../src/tasks/spec.ts";
import { differenceOf } from "./differences.ts";

export const MiB = 1024 * 1024;

export const image: ImageConfig = {
  os: "linux",
  architecture: "amd64",
  config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
  rootfs: { type: "layers", diff_ids: [] },
};

/** A spec's parts that a test changes. */
export interface Changes {
  readonly settings?: SpecSettings;
  readonly process?: Partial<SpecProcess>;
  readonly linux?: Partial<Spec["linux"]>;
  readonly spec?: Partial<Spec>;
}

/** How a container ended, and what it said. */
export interface Outcome {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
}

/** What the tests of one runtime share. */
export interface World {
  /** Where its differences are looked up. */
  readonly kind: string;
  /** Why this machine cannot limit or count resources. */
  readonly noLimits: string | undefined;
  /** Why this machine has no CRIU. */
  readonly noCheckpoints: string | undefined;
  /** What the runtime can do, as far as it is known before it is made. */
  readonly abilities: ReadonlySet<Ability> | undefined;
  runtime: Runtime;
  /** A folder for tests to put things into. */
  folder: string;
  /** A busybox root filesystem. */
  root: string;
}

/** What a test needs beside the runtime itself. */
export interface Needs {
  readonly ability?: Ability;
  /** That it lacks this one. */
  readonly without?: Ability;
  /** Cgroups that limit and count. */
  readonly limits?: boolean;
}

let count = 0;

/** What the tests of one subject work with. */
export class Fixture {
  readonly #world: World;
  readonly #subject: string;

  constructor(world: World, subject: string) {
    this.#world = world;
    this.#subject = subject;
  }

  get runtime(): Runtime {
    return this.#world.runtime;
  }
  get folder(): string {
    return this.#world.folder;
  }
  get root(): string {
    return this.#world.root;
  }
  /** The busybox root with a small writable layer in memory. */
  get scratch(): Rootfs {
    const mounts = [{ type: "bind", source: this.root, options: ["rbind", "ro"] }];
    return { mounts, scratch: { sizeBytes: 8 * MiB } };
  }

  /**
   * One test. A runtime that is known to differ in it has to differ: the table tells no old stories. What a test has left is
   * deleted behind it.
   */
  readonly it = (title: string, test: () => Promise<void>, needs: Needs = {}): void => {
    const { kind, noLimits, noCheckpoints, abilities } = this.#world;
    const reason = differenceOf(kind, `${this.#subject}: ${title}`);
    const skip = needs.limits === true && noLimits !== undefined
      ? noLimits
      : needs.ability !== undefined && abilities?.has(needs.ability) === false
      ? `${kind} has no ability ${JSON.stringify(needs.ability)}`
      : needs.without !== undefined && abilities?.has(needs.without) !== false
      ? `${kind} has the ability ${JSON.stringify(needs.without)}`
      : needs.ability === "checkpoint" && noCheckpoints !== undefined
      ? noCheckpoints
      : false;
    it(reason === undefined ? title : `${title} (differs: ${reason})`, { skip }, async () => {
      try {
        if (reason === undefined) await test();
        else await assert.rejects(test, `${kind} does not differ any more: take it out of differences.ts`);
      } finally {
        await Promise.all(this.runtime.tasks().map((task) => task.delete()));
      }
    });
  };

  /** A task of the full default configuration around a command. */
  readonly specOf = (
    args: readonly string[],
    changes: Changes = {},
    id = `t${process.pid}-${count++}`,
  ): CreateTask => {
    const base = generateSpec({ image, id, settings: { command: [...args], ...changes.settings } });
    const { cgroupsPath: _, ...linux } = base.linux;
    const spec: Spec = {
      ...base,
      ...changes.spec,
      process: { ...base.process, ...changes.process },
      linux: { ...linux, ...changes.linux },
    };
    return { id, spec, rootfs: this.scratch };
  };

  /** The same around a shell script. */
  readonly sh = (script: string, changes?: Changes): CreateTask => this.specOf(["sh", "-c", script], changes);

  readonly start = async (options: CreateTask): Promise<Task> => {
    const task = await this.runtime.create(options);
    await task.start();
    return task;
  };

  /** Starts a task that can do something. */
  readonly startWith = async <A extends Ability>(ability: A, options: CreateTask): Promise<Task & Abilities[A]> =>
    demand(await this.start(options), ability);

  /** Creates, starts, collects, waits and deletes. */
  readonly run = async (options: CreateTask, input: string | Uint8Array = ""): Promise<Outcome> => {
    const task = await this.runtime.create(options);
    try {
      await task.start();
      const [stdout, stderr] = [text(task.stdout), text(task.stderr)];
      const writer = task.stdin?.getWriter();
      const fed = writer?.write(typeof input === "string" ? new TextEncoder().encode(input) : input)
        .then(() => writer.close()).catch(() => {});
      const exit = await task.wait();
      await fed;
      return { exit, stdout: await stdout, stderr: await stderr };
    } finally {
      await task.delete();
    }
  };

  /** What a script says that has to succeed. */
  readonly output = async (script: string, changes?: Changes, input?: string): Promise<string> => {
    const { exit, stdout, stderr } = await this.run(this.sh(script, changes), input);
    assert.equal(exit.code, 0, `${script}: ${stderr}`);
    return stdout.trim();
  };

  /** Collects what is told of one task while something is done. */
  readonly eventsOf = async (id: string, act: () => Promise<void>): Promise<readonly TaskEvent[]> => {
    const told: TaskEvent[] = [];
    const stop = this.runtime.events((event) => {
      if (event.id === id) told.push(event);
    });
    try {
      await act();
    } finally {
      stop();
    }
    return told;
  };
}

export const code = (...wanted: ErrorCode[]) => (error: unknown): true => {
  assert.ok(wanted.includes(codeOf(error)), `${codeOf(error)}, wanted ${wanted.join(" or ")}: ${error}`);
  return true;
};

export function text(stream: Task["stdout"]): Promise<string> {
  return stream === undefined ? Promise.resolve("") : new Response(stream).text();
}

/** Reads what a process says, line by line or until something. */
export class Reader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(stream: Task["stdout"]) {
    assert.ok(stream !== undefined);
    this.#reader = stream.getReader();
  }

  /** Everything up to and with a text. @throws where the stream ends before. */
  async until(wanted: string): Promise<string> {
    for (;;) {
      const at = this.#rest.indexOf(wanted);
      if (at >= 0) {
        const found = this.#rest.slice(0, at + wanted.length);
        this.#rest = this.#rest.slice(found.length);
        return found;
      }
      const { done, value } = await this.#reader.read();
      assert.ok(!done, `it ended with ${JSON.stringify(this.#rest)} before ${JSON.stringify(wanted)}`);
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  async line(): Promise<string> {
    return (await this.until("\n")).trimEnd();
  }

  /** Everything that is left. */
  async rest(): Promise<string> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return this.#rest;
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** Writes to a process. */
export async function write(stream: Task["stdin"], words: string): Promise<void> {
  assert.ok(stream !== undefined);
  const writer = stream.getWriter();
  await writer.write(new TextEncoder().encode(words));
  writer.releaseLock();
}
