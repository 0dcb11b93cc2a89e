import { Failure } from "../core/errors.ts";
import { type FunctionStore, NameSchema } from "../core/function.ts";
import { KeyedLock } from "../core/keyed_lock.ts";
import { parse } from "../core/parse.ts";
import {
  maxSecretBytes,
  maxSecrets,
  type SecretInfo,
  SecretNameSchema,
  type SecretStore,
} from "../core/secret_store.ts";
import { reachedRevisions } from "./known.ts";
import type { SecretFolder, SecretFolders } from "../tasks/secret_folders.ts";

export interface SecretsParts {
  readonly store: SecretStore;
  readonly functions: FunctionStore;
  readonly folders: SecretFolders;
}

/** A folder that is in use. */
interface Shown {
  readonly namespace: string;
  readonly names: readonly string[];
  readonly folder: SecretFolder;
}

/** Secrets of namespaces: values that go in, and come out again as files of containers alone. */
export class Secrets {
  readonly #parts: SecretsParts;
  readonly #locks = new KeyedLock();
  readonly #shown = new Set<Shown>();

  constructor(parts: SecretsParts) {
    this.#parts = parts;
  }

  /** @throws already_exists; invalid_argument; resource_exhausted where there are too many. */
  async create(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo> {
    const action = check("create", namespace, name, value);
    return await this.#locks.hold(namespace, async () => {
      if ((await this.list(namespace)).length >= maxSecrets) {
        throw new Failure("resource_exhausted", `${action}: namespace ${namespace} has ${maxSecrets}, no more may be`);
      }
      const info = await this.#parts.store.create(namespace, name, value);
      if (info !== undefined) return info;
      throw new Failure("already_exists", `${action}: there is one: replace its value, or remove it first`);
    });
  }

  /**
   * Gives a secret another value. Containers that run see it in their file, too.
   * @throws not_found; invalid_argument.
   */
  async update(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo> {
    check("update", namespace, name, value);
    return await this.#locks.hold(namespace, async () => {
      const info = await this.#parts.store.update(namespace, name, value);
      if (info === undefined) throw unknown("update", namespace, name);
      for (const { folder, ...shown } of this.#shown) {
        if (shown.namespace === namespace && shown.names.includes(name)) folder.write(name, value);
      }
      return info;
    });
  }

  list(namespace: string): Promise<readonly SecretInfo[]> {
    return this.#parts.store.list(namespace);
  }

  /** @throws not_found; failed_precondition while a function has it. */
  async remove(namespace: string, name: string): Promise<void> {
    await this.#locks.hold(namespace, async () => {
      const users: string[] = [];
      for (const record of await this.#parts.functions.list(namespace)) {
        const revisions = await reachedRevisions(this.#parts.functions, record);
        if (revisions.some(({ secrets }) => secrets.includes(name))) users.push(record.name);
      }
      if (users.length > 0) {
        throw new Failure(
          "failed_precondition",
          `cannot remove secret ${JSON.stringify(name)}: function ${users.join(", ")} has it: ` +
            "deploy it without, or remove it first",
        );
      }
      if (!await this.#parts.store.delete(namespace, name)) throw unknown("remove", namespace, name);
    });
  }

  /**
   * Shows secrets to containers, until the folder is disposed of.
   * @param owner ids of the host that the containers' user has.
   * @throws failed_precondition for one that is not there, with the way to make it.
   */
  async show(
    namespace: string,
    names: readonly string[],
    owner: { readonly uid: number; readonly gid: number },
  ): Promise<SecretFolder> {
    return await this.#locks.hold(namespace, async () => {
      const values = new Map<string, Uint8Array>();
      for (const name of names) {
        const value = await this.#parts.store.open(namespace, name);
        if (value === undefined) throw missing(namespace, name);
        values.set(name, value);
      }
      const folder = this.#parts.folders.make(values, owner);
      const shown = { namespace, names, folder };
      this.#shown.add(shown);
      return {
        mounts: folder.mounts,
        write: folder.write,
        [Symbol.dispose]: () => {
          if (this.#shown.delete(shown)) folder[Symbol.dispose]();
        },
      };
    });
  }

  /**
   * Writes down who has them, while none of them can be removed.
   * @throws failed_precondition where one has been removed since it was shown.
   */
  async keep<T>(namespace: string, names: readonly string[], record: () => Promise<T>): Promise<T> {
    if (names.length === 0) return await record();
    return await this.#locks.hold(namespace, async () => {
      const there = new Set((await this.list(namespace)).map(({ name }) => name));
      const gone = names.find((name) => !there.has(name));
      if (gone !== undefined) throw missing(namespace, gone);
      return await record();
    });
  }
}

function check(verb: string, namespace: string, name: string, value: Uint8Array): string {
  const action = `cannot ${verb} secret ${JSON.stringify(name.slice(0, 100))}`;
  parse(NameSchema, namespace, `${action}: namespace`);
  parse(SecretNameSchema, name, action);
  if (value.length > 0 && value.length <= maxSecretBytes) return action;
  throw new Failure(
    "invalid_argument",
    `${action}: its value has ${value.length} bytes: want 1 to ${maxSecretBytes}`,
    { details: { field: "value" } },
  );
}

function unknown(verb: string, namespace: string, name: string): Failure {
  return new Failure(
    "not_found",
    `cannot ${verb} secret ${JSON.stringify(name.slice(0, 100))}: there is none of this name in namespace ` +
      JSON.stringify(namespace),
  );
}

function missing(namespace: string, name: string): Failure {
  const flags = namespace === "default" ? name : `--namespace ${namespace} ${name}`;
  return new Failure(
    "failed_precondition",
    `there is no secret ${JSON.stringify(name)} in namespace ${JSON.stringify(namespace)}: make it first: ` +
      `mayfly secret create ${flags} --from-file …`,
    { details: { field: "secrets" } },
  );
}
