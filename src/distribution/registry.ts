import type { Descriptor } from "../core/descriptor.ts";
import type { Arrival, Distribution, DistributionOptions, PushOptions } from "../core/distribution.ts";
import type { Digest } from "../core/digest.ts";
import { codeOf, Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import { Authorizer } from "./authorizer.ts";
import type { Credentials } from "./credentials.ts";
import { endpointOf } from "./endpoint.ts";
import { type Capability, everyCapability, type HostsFolder } from "./hosts.ts";
import { type Fetched, Repository } from "./repository.ts";
import { Slots } from "./slots.ts";
import { Transport, type TransportOptions } from "./transport.ts";

const defaultChunkBytes = 8 << 20;
const defaultConcurrency = 6;

export interface RegistryOptions extends TransportOptions {
  /** Registries spoken to over http, by host or host:port. */
  readonly plainHttp: readonly string[];
  /** Finds the credentials of a caller who brings none. */
  readonly credentials: (reference: ImageReference) => Promise<Credentials | undefined>;
  /** By which hosts registries are reached. Default: by themselves alone. */
  readonly hosts?: HostsFolder;
  /** How many blobs are fetched from one host at once, over all pulls. Default 6. */
  readonly concurrency?: number;
  /** How much of a blob is sent in one request, in bytes. Default 8 MiB. */
  readonly chunkBytes?: number;
}

/**
 * A client of container registries.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
 */
export class Registry implements Distribution {
  readonly #options: RegistryOptions;
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;
  readonly #slots: Slots;

  constructor(options: RegistryOptions) {
    this.#slots = new Slots(options.concurrency ?? defaultConcurrency);
    this.#options = options;
    this.#transport = new Transport(options);
    this.#authorizer = new Authorizer(this.#transport, options.credentials);
  }

  async resolve(reference: ImageReference, options: DistributionOptions = {}): Promise<Descriptor> {
    return await this.#anywhere("resolve", reference, options, (repository) => repository.resolve());
  }

  async fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions & { readonly offset?: number } = {},
  ): Promise<Fetched> {
    const { offset = 0 } = options;
    return await this.#anywhere("pull", reference, options, (repository) => repository.fetch(descriptor, offset));
  }

  async referrers(
    reference: ImageReference & { readonly digest: Digest },
    options: DistributionOptions = {},
  ): Promise<readonly Descriptor[]> {
    return await this.#anywhere("resolve", reference, options, (repository) => repository.referrers(reference.digest));
  }

  async pushBlob(
    reference: ImageReference,
    descriptor: Descriptor,
    source: (offset: number) => AsyncIterable<Uint8Array>,
    options: PushOptions = {},
  ): Promise<Arrival> {
    const [repository] = await this.#repositories("push", reference, options);
    return await repository.pushBlob(descriptor, source, options);
  }

  async pushManifest(
    reference: ImageReference,
    descriptor: Descriptor,
    bytes: Uint8Array<ArrayBuffer>,
    options: DistributionOptions = {},
  ): Promise<void> {
    const [repository] = await this.#repositories("push", reference, options);
    await repository.pushManifest(descriptor, bytes);
  }

  /** Asks the hosts of a registry in turn until one has it. @throws what the last one says, and what the others did. */
  async #anywhere<T>(
    capability: Capability,
    reference: ImageReference,
    options: DistributionOptions,
    ask: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const before: string[] = [];
    const [first, ...others] = await this.#repositories(capability, reference, options);
    for (let repository = first;;) {
      try {
        return await ask(repository);
      } catch (error) {
        const next = others.shift();
        if (!(error instanceof Failure) || options.signal?.aborted) throw error;
        if (next !== undefined) {
          before.push(`${repository.host}: ${error.message}`);
          repository = next;
        } else if (before.length === 0) throw error;
        else throw new Failure(codeOf(error), `${error.message} (before it, ${before.join("; ")})`, { cause: error });
      }
    }
  }

  /** The repository at each of the hosts that may be asked. @throws failed_precondition where none may. */
  async #repositories(
    capability: Capability,
    reference: ImageReference,
    options: DistributionOptions,
  ): Promise<[Repository, ...Repository[]]> {
    const server = this.#endpoint(reference, options);
    const hosts = await this.#options.hosts?.hosts(reference.registry, server) ??
      [{ api: server, capabilities: everyCapability, headers: {}, tls: undefined }];
    const parts = {
      transport: this.#transport,
      authorizer: this.#authorizer,
      reference,
      actions: capability === "push" ? "pull,push" : "pull",
      credentials: options.credentials,
      signal: options.signal,
      retry: this.#options.retry,
      chunkBytes: this.#options.chunkBytes ?? defaultChunkBytes,
      slots: this.#slots,
    } as const;
    const able = hosts.filter(({ capabilities }) => capabilities.includes(capability));
    const [first, ...others] = able.map((host) => new Repository({ ...parts, host }));
    if (first !== undefined) return [first, ...others];
    throw new Failure(
      "failed_precondition",
      `cannot ${capability} ${
        formatReference(reference)
      }: no host of ${reference.registry} may be asked to: give one the ` +
        `capability ${JSON.stringify(capability)} in its hosts.toml`,
    );
  }

  #endpoint(reference: ImageReference, { plainHttp }: DistributionOptions): URL {
    const { registry } = reference;
    const names = [registry, registry.replace(/:[0-9]+$/, "")];
    const configured = names.some((name) => this.#options.plainHttp.includes(name));
    return endpointOf(reference, plainHttp ?? (configured || undefined));
  }
}
