import { type ContainerMount, isImageMount } from "../core/container_mount.ts";
import { Failure } from "../core/errors.ts";
import { checkSources } from "../tasks/spec_mounts.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { Traced } from "../core/monitor.ts";
import { type Network, networkPlugin } from "../core/network.ts";
import { formatPlatform, matchPlatform } from "../core/platform.ts";
import type { Platform } from "../core/descriptor.ts";
import { parseDigest } from "../core/digest.ts";
import type { Runtime } from "../core/runtime.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { IdRange, IdRangeStore } from "../core/id_range.ts";
import type { Image } from "../core/image.ts";
import type { Spec, SpecMount, SpecUser } from "../core/spec.ts";
import type { Images } from "../images/images.ts";
import type { Ingredients, IngredientSettings, IngredientSource, Volumes } from "../tasks/ingredients.ts";
import type { Tasks } from "../tasks/tasks.ts";
import { settingsWithin, specWithin } from "../tasks/means.ts";
import { type SecretFolder, secretTargets } from "../tasks/secret_folders.ts";
import type { VolumeFolders } from "../tasks/volume_folders.ts";
import { generateSpec, specTemplate } from "../tasks/spec.ts";
import { fnMounts } from "./http/fn_protocol.ts";
import { temporaryFolder } from "./lambda/temporary.ts";
import { mostPrepared } from "./prepared.ts";
import { Recipe } from "./recipe.ts";
import type { Secrets } from "./secrets.ts";
import { openVolumes } from "./volumes.ts";
import { watchdogCommand } from "./watchdog.ts";
import { Views } from "./views.ts";

export interface RecipesParts {
  readonly images: Images;
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly networks: ReadonlyMap<string, Network>;
  /** The plugins of functions that name none. */
  readonly defaults: { readonly runtime: string; readonly snapshotter: string };
  readonly platform: Platform;
  readonly tasks: Tasks;
  readonly idRanges: IdRangeStore;
  readonly secrets: Secrets;
  readonly volumes: VolumeFolders;
}

/** Makes recipes: everything that can be wrong with a deployment is found here, before a request comes. */
export class Recipes implements IngredientSource {
  readonly #parts: RecipesParts;
  readonly #views = new Views();

  constructor(parts: RecipesParts) {
    this.#parts = parts;
  }

  /** The manifest that a function's image names on this machine; an image that is not here is pulled. */
  async resolve(
    namespace: string,
    reference: string,
    { restore = false, ...traced }: Traced & { readonly restore?: boolean } = {},
  ): Promise<string> {
    const image = await this.#image(namespace, reference, traced);
    if (restore) {
      this.#parts.images.checkRestore(image);
      return image.target.digest;
    }
    return (await this.#parts.images.config(image.target)).manifestDigest;
  }

  checkpoint(digest: string): Promise<{ readonly folder: string } & Disposable> {
    return this.#parts.images.openCheckpoint(parseDigest(digest));
  }

  /** A name of the daemon's own registry by the one that its images have; others as they are. */
  imageName(reference: string): string {
    return this.#parts.images.ownName(reference) ?? reference;
  }

  /**
   * The same mounts, with the manifests that their images name now, to who is of this namespace; those that are not here are
   * pulled. What a caller says of digests counts for nothing: content is shared by all namespaces, the right to it is not.
   */
  async pin(
    namespace: string,
    mounts: readonly ContainerMount[],
    traced: Traced = {},
  ): Promise<ContainerMount[]> {
    return await Promise.all(mounts.map(async (mount) => {
      if (!isImageMount(mount)) return mount;
      const source = this.imageName(mount.source);
      const { target } = await this.#image(namespace, source, { ...traced, artifacts: true });
      return { ...mount, source, digest: await this.#parts.images.manifest(target) };
    }));
  }

  volumes(
    namespace: string,
    snapshotter: Snapshotter,
    settings: Pick<IngredientSettings, "mounts" | "userns" | "restore">,
    traced: Traced = {},
  ): Promise<Volumes> {
    const { images, volumes: folders } = this.#parts;
    return openVolumes({ images, views: this.#views, folders, snapshotter, namespace, settings }, traced);
  }

  /** The manifest that it names, where the image is here. */
  async resolveHere(namespace: string, reference: string, restore = false): Promise<string | undefined> {
    const image = await this.#parts.images.find(namespace, reference);
    if (restore && image !== undefined) {
      this.#parts.images.checkRestore(image);
      return image.target.digest;
    }
    return image && (await this.#parts.images.config(image.target)).manifestDigest;
  }

  async #image(namespace: string, name: string, options: Traced & { readonly artifacts?: boolean }): Promise<Image> {
    return await this.#parts.images.find(namespace, name) ?? await this.#parts.images.pull(namespace, name, options);
  }

  /**
   * Makes what all containers of a function's revision share.
   * @throws as `gather`; invalid_argument for a user or a command that the image does not have.
   */
  async make(
    namespace: string,
    digest: string,
    settings: FunctionSettings,
    traced: Traced = {},
  ): Promise<Recipe> {
    const { config, accounts, network, ids, ...parts } = await this.gather(namespace, digest, settings, traced);
    checkSecrets(settings);
    if (mostPrepared(settings) > 0) checkPrepared(settings, parts.runtime);
    if (settings.protocol !== undefined && settings.protocol !== "stdio") checkServed(settings);
    if (settings.reuse && settings.protocol !== "lambda") {
      throw new Failure("invalid_argument", 'cannot reuse containers: choose protocol "lambda" for that', {
        details: { field: "reuse" },
      });
    }
    const { tasks } = this.#parts;
    await using opened = new AsyncDisposableStack();
    const volumes = opened.use(await this.volumes(namespace, parts.snapshotter, settings, traced));
    const generated = generateSpec({
      image: config,
      id: "template",
      accounts,
      ids,
      volumes: volumes.paths,
      settings: {
        ...settingsWithin(settings, tasks.means),
        command: watchdogCommand(config, settings) ?? settings.command,
        readonlyRootfs: settings.readonlyRootfs || settings.scratchBytes === 0,
      },
    });
    const spec = specWithin(network.apply(generated, settings), tasks.means);
    await tasks.checkCommand(parts.snapshotter, parts.chain, spec);
    const checkpoint = settings.restore ? await this.checkpoint(digest) : undefined;
    let secrets: SecretFolder | undefined;
    try {
      if (settings.secrets.length > 0) {
        secrets = await this.#parts.secrets.show(namespace, settings.secrets, hostUser(spec.process.user, ids));
      }
      const own = settings.protocol === "fn" ? fnMounts : temporaryFolder(settings);
      const shown = withMounts(spec, [...own, ...secrets?.mounts ?? []]);
      const template = specTemplate(shown, settings.hostname);
      const made = { ...parts, settings, template, views: this.#views, checkpoint, secrets, volumes };
      const recipe = await Recipe.make(made);
      opened.move();
      return recipe;
    } catch (error) {
      secrets?.[Symbol.dispose]();
      checkpoint?.[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Brings together what containers of an image are made of, and unpacks it where that is not done.
   * @throws invalid_argument for an unknown plugin; failed_precondition for an image of another platform; what unpacking
   * throws.
   */
  async gather(
    namespace: string,
    digest: string,
    settings: IngredientSettings,
    traced: Traced = {},
  ): Promise<Ingredients> {
    const { images, runtimes, snapshotters, networks, defaults, platform, tasks, idRanges } = this.#parts;
    const runtime = named(runtimes, settings.runtime ?? defaults.runtime, "runtime");
    const snapshotter = named(snapshotters, settings.snapshotter ?? defaults.snapshotter, "snapshotter");
    const network = named(networks, networkPlugin(settings.network), "network");
    checkSources(settings.mounts);
    if (settings.userns === "auto") checkUsers(settings, runtime, network);
    if (settings.restore) checkRestored(settings, network);
    if (settings.restore && !runtime.abilities.has("checkpoint")) {
      throw new Failure(
        "unimplemented",
        `cannot restore a container: runtime ${JSON.stringify(runtime.id)} cannot go on from a checkpoint, use native`,
        { details: { field: "restore" } },
      );
    }
    const manifestDigest = parseDigest(digest);
    const { config } = await images.config(manifestDigest);
    if (matchPlatform(platform, config) === undefined) {
      throw new Failure(
        "failed_precondition",
        `cannot run image ${JSON.stringify(settings.image)}: it is built for ${formatPlatform(config)}, ` +
          `this machine is ${formatPlatform(platform)}`,
      );
    }
    const image = { namespace, name: settings.image };
    const chain = await images.unpack(manifestDigest, snapshotter.id, { ...traced, image });
    const ids = settings.userns === "auto" ? await idRanges.take(namespace) : undefined;
    return { config, chain, runtime, snapshotter, network, ids, accounts: await tasks.accounts(snapshotter, chain) };
  }
}

/** @throws invalid_argument. */
function checkSecrets({ secrets, restore, mounts }: FunctionSettings): void {
  if (secrets.length === 0) return;
  const details = { field: "secrets" };
  if (restore) {
    throw new Failure(
      "invalid_argument",
      "cannot show secrets to containers that go on from a checkpoint: choose one",
      {
        details,
      },
    );
  }
  const path = (text: string) => `/${text.split("/").filter((part) => part !== "" && part !== ".").join("/")}`;
  const hidden = mounts.find(({ target }) => secretTargets.includes(path(target)));
  if (hidden === undefined) return;
  throw new Failure(
    "invalid_argument",
    `cannot mount on ${JSON.stringify(hidden.target)}: secrets are there, mount elsewhere`,
    { details },
  );
}

/** The ids of the host that a container's user has. */
function hostUser({ uid, gid }: SpecUser = { uid: 0, gid: 0 }, ids: IdRange | undefined) {
  const first = ids?.first ?? 0;
  return { uid: first + uid, gid: first + gid };
}

function withMounts(spec: Spec, mounts: readonly SpecMount[]): Spec {
  return { ...spec, mounts: [...spec.mounts ?? [], ...mounts] };
}

/** @throws invalid_argument; unimplemented. */
function checkServed(settings: FunctionSettings): void {
  const { protocol, network, prepared, preparedMax = 0, restore, minInstances, maxInstances } = settings;
  const refuse = (field: string, why: string) => {
    throw new Failure("invalid_argument", `cannot serve ${protocol}: ${why}`, { details: { field } });
  };
  if (network === "host") refuse("network", `its containers need networks of their own, choose network "none"`);
  if (prepared > 0 || preparedMax > 0) {
    refuse("prepared", "its containers serve many requests, choose minInstances in place of prepared");
  }
  // They listen where they did: the others' are told of a socket at their start.
  if (restore && protocol !== "http") {
    refuse(
      "restore",
      'containers that go on from a checkpoint are told nothing at their start, choose protocol "http"',
    );
  }
  if (minInstances > maxInstances) {
    refuse("minInstances", `minInstances ${minInstances} is over maxInstances ${maxInstances}`);
  }
}

/** Whether a function's containers may wait for requests. @throws invalid_argument; unimplemented. */
export function checkPrepared({ restore, prepared, preparedMax = prepared }: FunctionSettings, runtime: Runtime): void {
  const details = { field: "prepared" };
  if (preparedMax < prepared) {
    throw new Failure("invalid_argument", `cannot prepare ${prepared} containers: preparedMax is ${preparedMax}`, {
      details: { field: "preparedMax" },
    });
  }
  if (restore) {
    throw new Failure("invalid_argument", "cannot prepare containers that go on from a checkpoint: choose one", {
      details,
    });
  }
  if (runtime.givesEnvironmentAtStart === true) return;
  throw new Failure(
    "unimplemented",
    `cannot prepare containers: runtime ${
      JSON.stringify(runtime.id)
    } takes their environment before a request is there, ` +
      "use native",
    { details },
  );
}

/** @throws invalid_argument; unimplemented. */
function checkUsers(settings: IngredientSettings, runtime: Runtime, network: Network): void {
  const details = { field: "userns" };
  if (network.connect !== undefined) {
    throw new Failure(
      "unimplemented",
      `cannot give a container users of its own on network ${
        JSON.stringify(settings.network)
      }: choose userns "host", ` +
        'or network "none"',
      { details },
    );
  }
  if (settings.network === "host") {
    throw new Failure(
      "invalid_argument",
      `cannot give a container users of its own on the machine's network: choose userns "host", or network "none"`,
      { details },
    );
  }
  if (runtime.mapsIds === true) return;
  throw new Failure(
    "unimplemented",
    `cannot give a container users of its own: runtime ${JSON.stringify(runtime.id)} cannot map the ids of its image`,
    { details },
  );
}

/** What is restored has the addresses that it had. @throws unimplemented. */
function checkRestored(settings: IngredientSettings, network: Network): void {
  if (network.connect === undefined) return;
  throw new Failure(
    "unimplemented",
    `cannot restore a container on network ${JSON.stringify(settings.network)}: choose "none" or "host"`,
    { details: { field: "network" } },
  );
}

function named<T>(plugins: ReadonlyMap<string, T>, id: string, kind: string): T {
  const plugin = plugins.get(id);
  if (plugin !== undefined) return plugin;
  const known = [...plugins.keys()].join(", ") || "none";
  throw new Failure("invalid_argument", `no ${kind} ${JSON.stringify(id)} is running: there are ${known}`, {
    details: { field: kind },
  });
}
