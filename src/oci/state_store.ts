import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { checkContainerId, isContainerId } from "../core/container_id.ts";
import type { DetachedContainer } from "../core/detached.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { SpecSchema } from "../core/spec.ts";

const RecordSchema = v.object({
  id: v.string(),
  bundle: v.string(),
  root: v.string(),
  cgroupPath: v.string(),
  created: v.string(),
  /** 0 while it is being made. */
  pid: v.number(),
  /** When that process began, in clock ticks since the machine did: an id may come to mean another. */
  startTicks: v.string(),
  spec: SpecSchema,
});

/** What commands know of a container from one to the next. */
export type ContainerRecord = DetachedContainer & v.InferOutput<typeof RecordSchema>;

const file = "state.json";

/** The containers of one `--root`: a folder each, which holds its id from the first moment. */
export class StateStore {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Takes an id. @throws invalid_argument; already_exists. @returns the container's folder. */
  reserve(id: string): string {
    checkContainerId(id);
    mkdirSync(this.#root, { recursive: true, mode: 0o711 });
    const folder = join(this.#root, id);
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (cause) {
      if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) throw cause;
      throw new Failure("already_exists", `container with id exists: ${id}`, { cause });
    }
    return folder;
  }

  /** Writes what is known, whole or not at all. */
  save(record: ContainerRecord): void {
    const { folder, ...known } = record;
    writeFileSync(join(folder, `${file}.new`), JSON.stringify(known), { mode: 0o600 });
    renameSync(join(folder, `${file}.new`), join(folder, file));
  }

  /** @throws not_found; data_loss where the record is none. */
  load(id: string): ContainerRecord {
    const folder = join(this.#root, id);
    let text: string;
    try {
      if (!isContainerId(id)) throw new Error("no id");
      text = readFileSync(join(folder, file), "utf8");
    } catch (cause) {
      throw new Failure("not_found", `container ${JSON.stringify(id)} does not exist`, { cause });
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new Failure("data_loss", `cannot read the state of container ${JSON.stringify(id)}: it is no JSON`, {
        cause,
      });
    }
    return { ...parse(RecordSchema, value, `cannot read the state of container ${JSON.stringify(id)}`), folder };
  }

  /** Whether an id is taken, by a container or by what is left of one. */
  has(id: string): boolean {
    return isContainerId(id) && this.ids().includes(id);
  }

  ids(): readonly string[] {
    try {
      return readdirSync(this.#root).filter(isContainerId).sort();
    } catch {
      return [];
    }
  }

  /** Gives an id back. */
  remove(id: string): void {
    rmSync(join(this.#root, id), { recursive: true, force: true });
  }
}
