/**
 * The composition root: host → plugins → images → tasks → functions → api. It only joins what the other folders make;
 * whatever needs a decision is decided there.
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { authenticator } from "./access/authenticate.ts";
import { Oidc } from "./access/oidc.ts";
import { TlsFiles } from "./access/tls_files.ts";
import { Tokens } from "./access/tokens.ts";
import { type Access, checkHost } from "./api/access.ts";
import { type AccessEntry, logAccess } from "./api/access_log.ts";
import { type Api, createApp } from "./api/app.ts";
import { observeRequests } from "./api/observe_requests.ts";
import type { ApiParts } from "./api/parts.ts";
import { giveRequestId } from "./api/request_id.ts";
import type { DaemonHandle } from "./cli/command.ts";
import { socketPath } from "./cli/connection.ts";
import type { Config } from "./config.ts";
import type { ContentStore } from "./core/content.ts";
import type { Distribution } from "./core/distribution.ts";
import type { ImageVerifier } from "./core/image_verifier.ts";
import { Failure } from "./core/errors.ts";
import type { FetchHandler, Host, Listener } from "./core/host.ts";
import type { Logger } from "./core/logger.ts";
import type { Metadata } from "./core/metadata.ts";
import type { Monitor } from "./core/monitor.ts";
import type { Network } from "./core/network.ts";
import { OwnRegistry } from "./core/own_registry.ts";
import { defaultPlatform } from "./core/platform.ts";
import { PluginRegistry } from "./core/plugin_registry.ts";
import type { Queue } from "./core/queue.ts";
import type { Runtime } from "./core/runtime.ts";
import type { Snapshotter } from "./core/snapshotter.ts";
import { Callbacks } from "./functions/callbacks.ts";
import { Calls } from "./functions/calls.ts";
import { Followers } from "./functions/followers.ts";
import { Functions } from "./functions/functions.ts";
import { FnProtocol } from "./functions/http/fn_protocol.ts";
import { HttpProtocol } from "./functions/http/http_protocol.ts";
import { LambdaProtocol } from "./functions/lambda/lambda_protocol.ts";
import { snapshotPrefix } from "./functions/recipe.ts";
import { Schedules } from "./functions/schedules.ts";
import { Recipes } from "./functions/recipes.ts";
import { Secrets } from "./functions/secrets.ts";
import { viewPrefix } from "./functions/views.ts";
import { Images } from "./images/images.ts";
import { SignaturePolicy } from "./images/verify/signature_policy.ts";
import { VerifierPrograms } from "./images/verify/verifier_programs.ts";
import { Storage } from "./images/storage.ts";
import { UnpackThreads } from "./images/unpack_threads.ts";
import { setUndumpable } from "./linux/dumpable.ts";
import { FilesystemSync } from "./linux/filesystem_sync.ts";
import { lockFile } from "./linux/flock.ts";
import { Kernel } from "./linux/kernel.ts";
import type { Upgrade } from "./core/web_socket.ts";
import { Collector } from "./metadata/collector.ts";
import { retain, usedPercentOf } from "./metadata/retention.ts";
import { AccessLog } from "./monitoring/access_log.ts";
import { EventBus } from "./monitoring/events.ts";
import { Log } from "./monitoring/log.ts";
import { ContainerNetworks } from "./network/container_network.ts";
import { PublishedPorts } from "./network/published_ports.ts";
import { loadPluginModules } from "./plugin_modules.ts";
import { builtins } from "./plugins.ts";
import { openRegistry, type Registry } from "./registry/open.ts";
import { Containers } from "./tasks/containers.ts";
import { SecretFolders } from "./tasks/secret_folders.ts";
import { Tasks } from "./tasks/tasks.ts";
import { VolumeFolders } from "./tasks/volume_folders.ts";

/** This process's. The built package has JavaScript in the place of the source; a program in one file has no module for them. */
const module = /daemon(?=\.[jt]s$)/;
const threads = module.test(import.meta.url)
  ? new UnpackThreads(new URL(import.meta.url.replace(module, "unpack_thread")))
  : undefined;

const pruneEveryMs = 60_000;

/** How long a drained daemon waits for clients to take the end of their answers. */
const lastAnswersMs = 1000;

/**
 * Opens a root folder and everything on it; removes first what an earlier daemon left there.
 * @throws failed_precondition when another process has the root open, the user is not root, or no runtime works here.
 */
export async function openDaemon(host: Host, config: Config): Promise<Daemon> {
  await using undo = new AsyncDisposableStack();
  const log = new Log(config.logLevel);
  const onError = (error: unknown, what: string) => log.error(what, error);

  const kernel = new Kernel(host);
  requireRoot(kernel);
  // First of all: from now on nobody reads secrets out of this process or of a child that has not executed yet.
  setUndumpable(kernel);
  for (const folder of [config.root, config.run]) makeOwnFolder(folder);
  for (const folder of [config.root, config.run]) undo.use(lockFile(kernel, `${folder}/lock`));

  const registry = undo.use(new PluginRegistry(builtins, await loadPluginModules(config.pluginModules)));
  await registry.start({ host, root: config.root, run: config.run }, pluginSettings(config), { log });
  const metadata = registry.get<Metadata>("metadata");
  const monitor = registry.get<Monitor>("monitor");
  undo.defer(() => monitor.shutdown());
  const runtimes = registry.all<Runtime>("runtime");
  const snapshotters = registry.all<Snapshotter>("snapshotter");
  const defaults = { runtime: config.runtime, snapshotter: config.snapshotter ?? [...snapshotters.keys()][0] ?? "" };
  registry.get("runtime", defaults.runtime);
  registry.get("snapshotter", defaults.snapshotter || undefined);
  registry.get("queue", config.queue);

  const events = new EventBus(onError, { opening: metadata.opening });
  const content = registry.get<ContentStore>("content");
  const own = new OwnRegistry();
  // Where the kernel is to choose a port, the registry has no name before it listens.
  if (config.registryListen !== "off") own.serveAs(registryNames(config));
  const filesystems = undo.use(new FilesystemSync(kernel));
  const distribution = registry.get<Distribution>("distribution");
  const verifiers: ImageVerifier[] = [];
  if (config.verify.length > 0) verifiers.push(await SignaturePolicy.open(distribution, config.verify));
  if (config.verifierPrograms !== undefined) verifiers.push(new VerifierPrograms(host, config.verifierPrograms));
  const images = new Images({
    content,
    own,
    distribution,
    verifiers,
    metadata,
    snapshotters,
    host,
    events,
    monitor,
    sync: (path) => filesystems.sync(path),
    checkpoints: join(config.root, "checkpoints"),
    artifacts: join(config.root, "artifacts"),
    foreignCheckpoints: config.foreignCheckpoints,
    ...(threads && { threads }),
  });
  const networks = undo.use(new ContainerNetworks(host));
  const networkPlugins = registry.all<Network>("network");
  const tasks = undo.use(
    new Tasks({
      host,
      runtimes,
      snapshotters,
      networks: networkPlugins,
      ports: new PublishedPorts({ host, networks }),
      containers: metadata.containers,
      events,
      onError,
    }),
  );
  // Before the views go that it has mounted.
  const volumes = undo.use(new VolumeFolders(kernel, join(config.run, "volumes")));
  const { problems, ...removed } = await tasks.recover([snapshotPrefix, viewPrefix]);
  for (const { what, error } of problems) log.error(`cannot remove what was left: ${what}`, error);
  if (metadata.conflict !== undefined) log.warn(`nothing is cleaned up: ${metadata.conflict}`);
  const unpacks = await images.recover();
  if (unpacks.length > 0 || Object.values(removed).some((ids) => ids.length > 0)) {
    log.info("removed what an earlier process left", { ...removed, unpacks });
  }
  const collector = undo.use(
    new Collector({
      metadata,
      content,
      snapshotters,
      retain: (collect) =>
        retain({
          metadata,
          policy: config,
          usedPercent: () => usedPercentOf(config.root),
          collect,
          onRemoved: ({ namespace, name, target }, why) => {
            log.info(`removed an unused image: ${why}`, { namespace, name, digest: target.digest });
            events.publish("/images/delete", namespace, { name });
          },
        }),
      onCollected: ({ problems, ...collected }) => {
        for (const { what, error } of problems) log.error(`cannot remove garbage: ${what}`, error);
        if (collected.blobs > 0 || collected.snapshots.length > 0) log.info("collected garbage", collected);
      },
      onError: (error) => onError(error, "cannot collect garbage"),
    }),
  );
  for (
    const topic of [
      "/images/delete",
      "/images/update",
      "/functions/delete",
      "/functions/update",
      "/repositories/delete",
    ]
  ) {
    events.subscribe(topic, () => collector.request());
  }
  // What a broken-off pull or import has left is nobody's.
  collector.request();

  const secrets = new Secrets({
    store: metadata.secrets,
    functions: metadata.functions,
    folders: undo.use(new SecretFolders(kernel, join(config.run, "secrets"))),
  });
  const recipes = new Recipes({
    secrets,
    volumes,
    images,
    tasks,
    runtimes,
    snapshotters,
    networks: networkPlugins,
    defaults,
    platform: defaultPlatform(host.arch),
    idRanges: metadata.idRanges,
  });
  const containers = undo.use(
    new Containers({
      host,
      store: metadata.containers,
      tasks,
      runtimes,
      snapshotters,
      source: recipes,
      events,
      folder: join(config.root, "containers"),
      onError,
    }),
  );
  const ended = await containers.recover({ keepAll: metadata.conflict !== undefined });
  if (ended.length > 0) log.info("containers ended with an earlier process", { ended });
  const functions = new Functions({
    recipes,
    secrets,
    protocols: { http: new HttpProtocol(networks), lambda: new LambdaProtocol(networks), fn: new FnProtocol(networks) },
    tasks,
    metadata,
    monitor,
    events,
    maxConcurrency: config.maxConcurrency,
    namespaceConcurrency: config.namespaceConcurrency,
    maxPrepared: config.maxPrepared,
    maxResting: config.maxResting,
    keepRevisions: config.keepRevisions,
    onError,
  });
  const callbacks = undo.use(
    new Callbacks({
      store: metadata.callbacks,
      monitor,
      hosts: config.callbackHosts,
      retryBaseMs: config.callRetryMs,
      onError,
    }),
  );
  const calls = new Calls({
    store: metadata.calls,
    queue: registry.get<Queue>("queue", config.queue),
    functions,
    callbacks,
    monitor,
    concurrency: config.callConcurrency,
    maxWaiting: config.maxCalls,
    maxBytes: config.maxCallBytes,
    retryBaseMs: config.callRetryMs,
    onError,
  });
  for (const [id, other] of registry.all<Queue>("queue")) {
    if (id === config.queue) continue;
    const left = (await other.lines()).reduce((sum, { count }) => sum + count, 0);
    if (left > 0) log.warn(`${left} calls wait in queue "${id}", which is not used: --queue ${id} runs them`);
  }
  const schedules = undo.use(
    new Schedules({ store: metadata.functions, marks: metadata.schedules, calls, events, monitor, onError }),
  );
  const followers = undo.use(new Followers({ functions, store: metadata.functions, images, events, onError }));
  monitor.gauge({
    name: "mayfly_made_functions",
    help: "Functions that are made: called lately, or with containers that wait.",
    read: () => functions.madeCount,
  });
  monitor.gauge({
    name: "mayfly_running_invocations",
    help: "Invocations that run now.",
    read: () => functions.runningCount,
  });
  monitor.gauge({
    name: "mayfly_instances",
    help: "Containers that live now and serve many requests each.",
    read: () => functions.instanceCount,
  });
  const pruning = setInterval(() => {
    metadata.invocations.prune(config.keepInvocations).catch((error) => onError(error, "cannot prune invocations"));
    metadata.calls.prune(config.keepCalls).catch((error) => onError(error, "cannot prune calls"));
  }, pruneEveryMs);
  undo.defer(() => clearInterval(pruning));

  const accessLog = config.accessLog === undefined ? undefined : undo.use(new AccessLog(config.accessLog, onError));
  const logEntry = accessLog && ((entry: AccessEntry) => accessLog.write(entry));
  const tokens = await Tokens.open({ store: metadata.tokens, namespaces: metadata.namespaces });
  const authenticate = authenticator({
    tokens,
    oidc: config.oidc && new Oidc(config.oidc),
    adminToken: config.adminToken,
  });

  const access = registryAccess(config);
  const served = access && undo.use(
    await openRegistry({
      content,
      images,
      metadata,
      events,
      tokens: config.registryTokens ?? {},
      authenticate,
      before: [
        logAccess("registry", config.trustedProxies, logEntry),
        giveRequestId(),
        observeRequests(monitor, config.trustedProxies),
        checkHost(access),
      ],
      onError,
    }),
  );

  const closing = new AbortController();
  const api: ApiParts = {
    functions,
    calls,
    secrets,
    images,
    tasks,
    containers,
    events,
    snapshotters,
    namespaces: metadata.namespaces,
    tokens,
    authenticate,
    accessLog: logEntry,
    storage: new Storage({
      kernel,
      root: config.root,
      content,
      metadata,
      snapshotters,
      collect: (options) => collector.collect(options),
      refetch: (namespace, name) => images.refetch(namespace, name),
    }),
    monitor,
    host,
    plugins: () => registry.list(),
    info: { root: config.root, run: config.run, ...defaults, startedAt: new Date() },
    closing: closing.signal,
    onError,
  };
  return new Daemon({
    host,
    config,
    api,
    functions,
    followers,
    schedules,
    registry: served,
    own,
    closing,
    log,
    resources: undo.move(),
  });
}

interface DaemonParts {
  readonly host: Host;
  readonly config: Config;
  readonly api: ApiParts;
  readonly functions: Functions;
  readonly followers: Followers;
  readonly schedules: Schedules;
  /** Undefined where it is not served. */
  readonly registry: Registry | undefined;
  readonly own: OwnRegistry;
  /** Ends the answers that have no end of their own. */
  readonly closing: AbortController;
  readonly log: Logger;
  /** Closed last, in reverse. */
  readonly resources: AsyncDisposableStack;
}

/** The whole: what serves it, and who holds it in a program of their own, ends it. */
export class Daemon implements DaemonHandle {
  readonly #parts: DaemonParts;
  readonly #app: Api;
  readonly #listeners: Listener[] = [];
  #tls: TlsFiles | undefined;
  #closed: Promise<void> | undefined;

  constructor(parts: DaemonParts) {
    this.#parts = parts;
    this.#app = createApp(parts.api, { listener: "socket", trustedProxies: parts.config.trustedProxies });
  }

  /** What all of it gives access to. */
  get api(): ApiParts {
    return this.#parts.api;
  }

  /** The whole admin API and functions, with the rights of the admin socket. */
  get app(): Api {
    return this.#app;
  }

  /** Begins what goes on by itself: accepted calls, schedules, prepared containers. */
  start(): void {
    const { api, schedules, functions } = this.#parts;
    void api.calls.start().catch((error) => api.onError(error, "cannot take up the calls"));
    void schedules.start().catch((error) => api.onError(error, "cannot take up the schedules"));
    void functions.warm().catch((error) => api.onError(error, "cannot prepare containers"));
  }

  async fetch(request: Request, upgrade?: Upgrade): Promise<Response> {
    return await this.#app.fetch(request, upgrade && { connection: { peer: () => undefined, upgrade } });
  }

  async listen(): Promise<readonly string[]> {
    const { host, config } = this.#parts;
    const path = socketPath(config);
    // The lock on the root is held, so whoever listened there is gone.
    rmSync(path, { force: true });
    this.#listeners.push(await host.serve({ path }, (request, connection) => this.#app.fetch(request, { connection })));
    chmodSync(path, 0o600);
    this.start();
    return [
      path,
      ...await this.#listenTcp(config.listen, { admin: config.adminTcp }),
      ...await this.#listenTcp(config.adminListen, { admin: true }),
      ...await this.#listenRegistry(),
    ];
  }

  /** What is asked of the outside: functions, and the admin API where that is wanted. */
  #listenTcp(address: string, { admin }: { readonly admin: boolean }): Promise<readonly string[]> {
    const { config, api } = this.#parts;
    const { allowedHosts, trustedProxies } = config;
    return this.#serve(address, ({ hostname }) => {
      const app = createApp(api, { listener: "tcp", address: hostname, allowedHosts, trustedProxies, admin });
      return (request, connection) => app.fetch(request, { connection });
    });
  }

  async #listenRegistry(): Promise<readonly string[]> {
    const { config, registry, own } = this.#parts;
    if (registry === undefined) return [];
    const [url = ""] = await this.#serve(
      config.registryListen,
      () => (request, connection) => registry.fetch(request, { connection }),
    );
    own.serveAs(registryNames(config, Number(new URL(url).port)));
    return [`${url}/v2/`];
  }

  /** Listens on a TCP address, in TLS where there is a certificate. @returns its URL; nothing where it is off. */
  async #serve(
    address: string,
    handlerOf: (address: { readonly hostname: string }) => FetchHandler,
  ): Promise<readonly string[]> {
    if (address === "off") return [];
    const { hostname, port } = splitAddress(address);
    const tls = this.#tlsFiles();
    const listener = await this.#parts.host.serve({ hostname, port, tls: tls?.identity }, handlerOf({ hostname }));
    this.#listeners.push(listener);
    tls?.watch((identity) => listener.renew(identity));
    return [`${tls === undefined ? "http" : "https"}://${urlHost(hostname)}:${listener.port}`];
  }

  /** The certificate of all TCP listeners. @throws failed_precondition. */
  #tlsFiles(): TlsFiles | undefined {
    const { config: { tlsCert: cert, tlsKey: key }, log, resources } = this.#parts;
    if (cert === undefined || key === undefined) return undefined;
    return this.#tls ??= resources.use(new TlsFiles({ cert, key, log }));
  }

  async drain(): Promise<void> {
    const deadline = AbortSignal.timeout(this.#parts.config.drainMs);
    const { functions, followers, schedules, api } = this.#parts;
    schedules[Symbol.dispose]();
    api.calls.stop();
    await Promise.all([functions.drain(deadline), api.containers.drain(deadline), followers[Symbol.asyncDispose]()]);
    this.#parts.closing.abort();
    // The last answers are on their way still.
    const sent = Promise.all(this.#listeners.map((listener) => listener.close()));
    await Promise.race([sent, new Promise((resolve) => setTimeout(resolve, lastAnswersMs))]);
    await this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    // What still runs is killed, and its answer says so, before the listeners that carry it are cut.
    const { functions, followers, schedules, api } = this.#parts;
    schedules[Symbol.dispose]();
    api.calls.stop();
    await Promise.all([functions.drain(AbortSignal.abort()), followers[Symbol.asyncDispose]()]);
    await api.calls[Symbol.asyncDispose]();
    this.#parts.closing.abort();
    await Promise.all(this.#listeners.map((listener) => listener.close({ force: true })));
    if (this.#listeners.length > 0) rmSync(socketPath(this.#parts.config), { force: true });
    await this.#parts.resources.disposeAsync();
  }
}

/** Who may reach the registry. */
function registryAccess({ registryListen, registryNames }: Config): Access | undefined {
  if (registryListen === "off") return undefined;
  const { hostname } = splitAddress(registryListen);
  return { listener: "tcp", address: hostname, allowedHosts: registryNames.map((name) => name.replace(/:\d+$/, "")) };
}

/** By what names images of the registry are meant. */
function registryNames(config: Config, listening?: number): readonly string[] {
  const { hostname, port } = splitAddress(config.registryListen);
  const hosts = new Set(["localhost", "127.0.0.1", "[::1]", urlHost(hostname)]);
  return [...Array.from(hosts, (name) => `${name}:${listening ?? port}`), ...config.registryNames];
}

/** `[::1]:8080` → `::1` and 8080. */
function splitAddress(address: string): { readonly hostname: string; readonly port: number } {
  const at = address.lastIndexOf(":");
  return { hostname: address.slice(0, at).replace(/^\[|\]$/g, ""), port: Number(address.slice(at + 1)) };
}

function urlHost(hostname: string): string {
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}

function requireRoot(kernel: Kernel): void {
  const uid = kernel.call("geteuid");
  if (uid !== 0) {
    throw new Failure(
      "failed_precondition",
      `cannot open the daemon as uid ${uid}: containers are made by root, use sudo`,
    );
  }
}

/** Makes a folder that is root's alone. One that somebody else has prepared, or a link to one, is refused. */
function makeOwnFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const status = lstatSync(path);
  if (!status.isDirectory() || status.uid !== 0) {
    const is = status.isDirectory() ? `the folder of uid ${status.uid}` : "no folder";
    throw new Failure(
      "failed_precondition",
      `cannot keep state in "${path}": it is ${is}, want a folder of root's own`,
    );
  }
  chmodSync(path, 0o700);
}

/** Options that have a name of their own belong to a plugin in the end. */
function pluginSettings(config: Config): Record<string, unknown> {
  const { database, databaseToken, secretKey, plainHttp, plugins } = config;
  return {
    ...plugins,
    "metadata/libsql": {
      ...(database && { url: database }),
      ...(databaseToken && { authToken: databaseToken }),
      ...(secretKey && { secretKey }),
      ...plugins["metadata/libsql"],
    },
    "distribution/registry": { plainHttp, ...plugins["distribution/registry"] },
  };
}
