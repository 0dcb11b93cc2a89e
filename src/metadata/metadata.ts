import { join } from "node:path";
import { type Logger, silent } from "../core/logger.ts";
import type { Metadata } from "../core/metadata.ts";
import type { SnapshotStore } from "../core/snapshotter.ts";
import { WriteBarrier } from "../core/write_barrier.ts";
import { LibsqlCallbackStore } from "./callbacks.ts";
import { LibsqlCallStore } from "./calls.ts";
import { LibsqlContainerStore } from "./containers.ts";
import { Database } from "./database.ts";
import { LibsqlFunctionStore } from "./functions.ts";
import { defaultIdRanges, type IdRangeOptions, LibsqlIdRangeStore } from "./id_ranges.ts";
import { LibsqlImageStore } from "./images.ts";
import { LibsqlInvocationStore } from "./invocations.ts";
import { LibsqlLeaseStore } from "./leases.ts";
import { migrate } from "./migrate.ts";
import { defaultNamespace, LibsqlNamespaceStore } from "./namespaces.ts";
import { countOpening } from "./opening.ts";
import { LibsqlRepositoryStore } from "./repositories.ts";
import { identifyRoot, type RootIdentity } from "./root_id.ts";
import { LibsqlScheduleStore } from "./schedules.ts";
import { keyOf, readSecretKey } from "./secret_key.ts";
import { LibsqlSecretStore } from "./secrets.ts";
import { LibsqlSnapshotStore } from "./snapshots.ts";
import { LibsqlTokenStore } from "./tokens.ts";

export interface OpenMetadataOptions {
  /** The folder that the database is of; `mayfly.db` is in it. */
  readonly root: string;
  /** A libSQL URL for definitions (namespaces, images, functions). Default: the file, too. */
  readonly url?: string | undefined;
  readonly authToken?: string | undefined;
  /** Which ids of the host namespaces get. Default: `defaultIdRanges`. */
  readonly idRanges?: IdRangeOptions | undefined;
  /** What secrets are sealed with, in hexadecimal digits. Default: the file `secret.key` of the root. */
  readonly secretKey?: string | undefined;
  /** Told where the database at the URL does not answer. */
  readonly log?: Logger;
}

/** Opens, and where needed creates or migrates, the metadata of a root folder. */
export async function openMetadata(options: OpenMetadataOptions): Promise<LibsqlMetadata> {
  await using opened = new AsyncDisposableStack();
  const path = join(options.root, "mayfly.db");
  const durable = opened.use(await Database.file(path, "FULL"));
  await migrate(durable, { backupOf: path });
  const relaxed = opened.use(await Database.file(path, "NORMAL"));
  let definitions = durable;
  if (options.url !== undefined) {
    const { authToken, log = silent } = options;
    definitions = opened.use(
      await Database.remote(options.url, {
        authToken,
        async prepare(database) {
          await migrate(database);
          await new LibsqlNamespaceStore({ definitions: database, local: durable }).ensure(defaultNamespace);
        },
        onUnavailable(error) {
          const then = "images and functions are refused as unavailable (503) until it answers";
          log.error(`the database of definitions is away: ${then}`, error);
        },
      }),
    );
  } else await new LibsqlNamespaceStore({ definitions, local: durable }).ensure(defaultNamespace);
  const identity = await identifyRoot(durable, options.root);
  const opening = await countOpening(durable);
  const { idRanges = defaultIdRanges, secretKey } = options;
  const secrets = new LibsqlSecretStore(
    definitions,
    () => secretKey === undefined ? readSecretKey(join(options.root, "secret.key")) : keyOf(secretKey),
  );
  return new LibsqlMetadata({
    durable,
    relaxed,
    definitions,
    identity,
    opening,
    idRanges,
    secrets,
    owned: opened.move(),
  });
}

/** Metadata in a libSQL file, its definitions there or behind a URL. */
export class LibsqlMetadata implements Metadata, AsyncDisposable {
  readonly rootId: string;
  readonly opening: number;
  readonly conflict: string | undefined;
  readonly barrier = new WriteBarrier();
  readonly namespaces: LibsqlNamespaceStore;
  readonly images: LibsqlImageStore;
  readonly containers: LibsqlContainerStore;
  readonly functions: LibsqlFunctionStore;
  readonly invocations: LibsqlInvocationStore;
  readonly calls: LibsqlCallStore;
  readonly callbacks: LibsqlCallbackStore;
  readonly leases: LibsqlLeaseStore;
  readonly schedules: LibsqlScheduleStore;
  readonly secrets: LibsqlSecretStore;
  readonly repositories: LibsqlRepositoryStore;
  readonly idRanges: LibsqlIdRangeStore;
  readonly tokens: LibsqlTokenStore;
  readonly #durable: Database;
  readonly #relaxed: Database;
  readonly #owned: AsyncDisposableStack;

  constructor({ durable, relaxed, definitions, identity, opening, idRanges, secrets, owned }: {
    readonly durable: Database;
    readonly relaxed: Database;
    readonly definitions: Database;
    readonly identity: RootIdentity;
    readonly opening: number;
    readonly idRanges: IdRangeOptions;
    readonly secrets: LibsqlSecretStore;
    readonly owned: AsyncDisposableStack;
  }) {
    this.#durable = durable;
    this.#relaxed = relaxed;
    this.#owned = owned;
    this.rootId = identity.id;
    this.opening = opening;
    this.conflict = identity.conflict;
    this.namespaces = new LibsqlNamespaceStore({ definitions, local: durable });
    this.images = new LibsqlImageStore(definitions, this.barrier);
    this.functions = new LibsqlFunctionStore(definitions, this.barrier);
    this.containers = new LibsqlContainerStore(durable, this.barrier);
    this.calls = owned.use(new LibsqlCallStore({ durable, relaxed }));
    this.callbacks = new LibsqlCallbackStore({ relaxed });
    this.schedules = new LibsqlScheduleStore(relaxed);
    this.secrets = secrets;
    this.leases = new LibsqlLeaseStore(relaxed, this.barrier);
    this.repositories = new LibsqlRepositoryStore({ durable, relaxed }, this.barrier);
    this.tokens = new LibsqlTokenStore(durable);
    this.idRanges = new LibsqlIdRangeStore(durable, idRanges);
    this.invocations = owned.use(new LibsqlInvocationStore(relaxed));
  }

  snapshots(snapshotter: string): SnapshotStore {
    return new LibsqlSnapshotStore(snapshotter, { relaxed: this.#relaxed, durable: this.#durable }, this.barrier);
  }

  close(): Promise<void> {
    return this.#owned.disposeAsync();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
