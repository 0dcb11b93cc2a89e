import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as v from "valibot";
import { Failure } from "../../src/core/errors.ts";
import { parse } from "../../src/core/parse.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { CheckpointOptions } from "../../src/core/task.ts";
import { complaintOf, type Criu } from "../../src/linux/criu.ts";
import { programFolders } from "../../src/linux/find_program.ts";
import type { Bundle } from "./bundle.ts";

/** How long it may take to write a container's memory. */
const timeoutMs = 300_000;

/** Beside CRIU's files and the runtime's. */
const recordName = "mayfly-oci.json";

const Record = v.strictObject({
  /** The runtime's id: each has files of its own beside CRIU's. */
  runtime: v.string(),
  /** The types of the container's namespaces: CRIU makes those, whatever the next one is to have. */
  namespaces: v.array(v.string()),
});

/** What a runtime is asked to write. */
export type DumpOptions = Pick<CheckpointOptions, "folder" | "tcpEstablished">;

/** One of a runtime's commands that has CRIU work. */
export interface CriuCommand {
  readonly words: readonly string[];
  readonly env: readonly string[];
  readonly timeoutMs?: number;
}

/** The two commands of an OCI runtime that has them as runc does: how they are called, and what is written beside. */
export class CheckpointCommands {
  readonly #runtime: string;
  readonly #criu: Criu;

  /** @param runtime its id. */
  constructor(runtime: string, criu: Criu) {
    this.#runtime = runtime;
    this.#criu = criu;
  }

  /**
   * Whether a container is to be given its network namespace: of one that it makes itself, the runtimes bring back neither
   * loopback nor anything else.
   */
  needsNetwork({ linux }: Spec): boolean {
    const namespaces = linux.namespaces ?? [];
    return namespaces.some(({ type, path }) => type === "network" && !path) &&
      !namespaces.some(({ type }) => type === "user");
  }

  /** @throws unimplemented for a container of a kind that cannot be restored; unavailable without CRIU. */
  checkDump(id: string, spec: Spec): void {
    refuseCheckpoint(`cannot checkpoint container ${JSON.stringify(id)}`, spec);
    void this.#criu.program;
  }

  /** Has a container written that is frozen, and stays so. @throws what `run` throws, with what CRIU says. */
  async dump(
    id: string,
    spec: Spec,
    bundle: Bundle,
    { folder, tcpEstablished }: DumpOptions,
    run: (action: string, command: CriuCommand) => Promise<unknown>,
  ): Promise<void> {
    const action = `cannot checkpoint container ${JSON.stringify(id)}`;
    await this.#explained(action, bundle, "dump.log", (work) =>
      run(action, {
        words: [
          ...["checkpoint", "--image-path", folder, "--work-path", work, "--leave-running", "--file-locks"],
          ...tcpEstablished === true ? ["--tcp-established"] : [],
          id,
        ],
        env: this.#env,
        timeoutMs,
      }));
    const record: v.InferOutput<typeof Record> = { runtime: this.#runtime, namespaces: namespacesOf(spec) };
    writeFileSync(join(folder, recordName), JSON.stringify(record), { mode: 0o600 });
  }

  /**
   * Sees that a container can go on from a checkpoint, as far as it can be known before.
   * @throws invalid_argument for what is no checkpoint of this runtime; failed_precondition; unavailable; unimplemented.
   */
  checkRestore(id: string, spec: Spec, folder: string): void {
    const action = `cannot restore container ${JSON.stringify(id)}`;
    refuseCheckpoint(action, spec);
    void this.#criu.program;
    let record: unknown;
    try {
      record = JSON.parse(readFileSync(join(folder, recordName), "utf8"));
    } catch (cause) {
      const said = `${JSON.stringify(folder)} holds no checkpoint of an OCI runtime's`;
      throw new Failure("invalid_argument", `${action}: ${said}`, { cause });
    }
    const { runtime, namespaces } = parse(Record, record, action);
    if (runtime !== this.#runtime) {
      throw new Failure("invalid_argument", `${action}: the checkpoint is one of runtime ${runtime}, use that`);
    }
    const [was, wanted] = [namespaces.join(", "), namespacesOf(spec).join(", ")];
    if (was !== wanted) {
      throw new Failure(
        "failed_precondition",
        `${action}: its namespaces are ${wanted}, those of the checkpoint ${was}: want the same ones`,
      );
    }
  }

  /** Has a container made that goes on from a folder. @throws what `run` throws, with what CRIU says. */
  async restore<T>(
    id: string,
    bundle: Bundle,
    folder: string,
    run: (action: string, command: CriuCommand) => Promise<T>,
  ): Promise<T> {
    const action = `cannot restore container ${JSON.stringify(id)}`;
    return await this.#explained(action, bundle, "restore.log", (work) =>
      run(action, {
        words: [
          "restore",
          "--detach",
          ...["--image-path", folder, "--work-path", work],
          "--file-locks",
          "--tcp-established",
        ],
        env: this.#env,
      }));
  }

  /** Runtimes look for CRIU in PATH. @throws unavailable where there is none. */
  get #env(): readonly string[] {
    return [`PATH=${[dirname(this.#criu.program), ...programFolders].join(":")}`];
  }

  /** @param act gets a folder for CRIU's log; runtimes say no more than that it failed. */
  async #explained<T>(action: string, bundle: Bundle, log: string, act: (work: string) => Promise<T>): Promise<T> {
    const work = bundle.file("criu");
    mkdirSync(work, { mode: 0o700 });
    try {
      return await act(work);
    } catch (cause) {
      let said: string | undefined;
      try {
        said = complaintOf(readFileSync(join(work, log), "utf8"));
      } catch {
        // It did not come that far.
      }
      if (said === undefined) throw cause;
      throw new Failure("failed_precondition", `${action}: criu: ${said}`, { cause });
    }
  }
}

function namespacesOf({ linux }: Spec): string[] {
  return (linux.namespaces ?? []).map(({ type }) => type).sort();
}

/** @throws unimplemented for a container that would not be the same behind a restore, naming what it has. */
function refuseCheckpoint(action: string, { process, linux, hooks }: Spec): void {
  const refuse = (what: string) => {
    throw new Failure("unimplemented", `${action}: it is one ${what}, which OCI runtimes do not restore`);
  };
  if (process.terminal === true) refuse("with a terminal");
  const namespaces = linux.namespaces ?? [];
  if (namespaces.some(({ type }) => type === "user")) refuse("with users of its own");
  if (!["pid", "mount"].every((wanted) => namespaces.some(({ type }) => type === wanted))) {
    refuse("without pid and mount namespaces of its own");
  }
  if (namespaces.some(({ type, path }) => type !== "network" && path)) refuse("in namespaces of others");
  for (const turn of ["createContainer", "startContainer", "poststart"] as const) {
    if ((hooks?.[turn]?.length ?? 0) > 0) refuse(`with hooks ${turn}`);
  }
}
