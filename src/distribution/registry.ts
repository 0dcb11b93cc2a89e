import type { Descriptor } from "../core/descriptor.ts";
import type { Arrival, Distribution, DistributionOptions, PushOptions } from "../core/distribution.ts";
import { Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import type { Answer } from "./answer.ts";
import { type Access, Authorizer } from "./authorizer.ts";
import { blobBody } from "./blob_body.ts";
import { BlobUpload } from "./blob_upload.ts";
import { pause, untilAborted } from "./cancel.ts";
import { inContext } from "./connection_failure.ts";
import type { Credentials } from "./credentials.ts";
import { endpointOf } from "./endpoint.ts";
import { describeBody, describeHeaders, manifestTypes, maxManifestBytes } from "./manifest_answer.ts";
import { registryFailure } from "./registry_error.ts";
import { retryDelay } from "./retry.ts";
import { type Exchange, Transport, type TransportOptions } from "./transport.ts";

const defaultChunkBytes = 8 << 20;

export interface RegistryOptions extends TransportOptions {
  /** Registries spoken to over http, by host or host:port. */
  readonly plainHttp: readonly string[];
  /** Finds the credentials of a caller who brings none. */
  readonly credentials: (reference: ImageReference) => Promise<Credentials | undefined>;
  /** How much of a blob is sent in one request, in bytes. Default 8 MiB. */
  readonly chunkBytes?: number;
}

interface Ask extends Omit<Exchange, "url" | "authorization" | "signal"> {
  readonly action: string;
  /** Below the repository: `manifests/latest`; or where the registry said. */
  readonly to: string | URL;
  /** What has to be allowed there. Default: pull. */
  readonly actions?: Access["actions"];
}

/**
 * A client of container registries.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
 */
export class Registry implements Distribution {
  readonly #options: RegistryOptions;
  readonly #transport: Transport;
  readonly #authorizer: Authorizer;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#transport = new Transport(options);
    this.#authorizer = new Authorizer(this.#transport, options.credentials);
  }

  async resolve(reference: ImageReference, options: DistributionOptions = {}): Promise<Descriptor> {
    const action = `cannot resolve ${formatReference(reference)}`;
    const to = `manifests/${reference.digest ?? reference.tag ?? "latest"}`;
    const headers = { accept: manifestTypes.join(", ") };
    const head = await this.#ask(reference, options, { action, method: "HEAD", to, headers });
    await head.discard();
    if (head.ok) {
      const described = describeHeaders(action, head, reference.digest);
      if (described !== undefined) return described;
    } else if (head.status === 429 || head.status >= 500) {
      throw await registryFailure(action, head);
    }
    // The reason of a refusal is in a body, and some registries do not answer HEAD as they should.
    const answer = await this.#ask(reference, options, { action, method: "GET", to, headers });
    if (!answer.ok) throw await this.#refusal(action, reference, options, answer);
    return await named(action, () => describeBody(action, answer, reference.digest));
  }

  async fetch(
    reference: ImageReference,
    descriptor: Descriptor,
    options: DistributionOptions & { readonly offset?: number } = {},
  ): Promise<{ readonly offset: number; readonly body: ReadableStream<Uint8Array<ArrayBuffer>> }> {
    const { mediaType, digest, size } = descriptor;
    const manifest = manifestTypes.includes(mediaType);
    const action = `cannot fetch ${digest} of ${formatReference(reference)}`;
    const offset = manifest ? 0 : options.offset ?? 0;
    if (!(offset >= 0 && offset <= size)) {
      throw new Failure("invalid_argument", `${action}: offset ${offset} is not within its ${size} bytes`);
    }
    if (manifest && size > maxManifestBytes) {
      throw new Failure(
        "resource_exhausted",
        `${action}: it has ${size} bytes, a manifest may have ${maxManifestBytes}`,
      );
    }
    if (offset === size && size > 0) return { offset, body: new Blob().stream() };

    const to = `${manifest ? "manifests" : "blobs"}/${digest}`;
    const open = async (from: number): Promise<{ answer: Answer; offset: number }> => {
      const headers = { accept: manifest ? mediaType : "*/*", ...(from > 0 ? { range: `bytes=${from}-` } : {}) };
      const answer = await this.#ask(reference, options, { action, method: "GET", to, headers });
      if (from > 0 && answer.status === 416) {
        await answer.discard();
        return await open(0);
      }
      if (!answer.ok) throw await this.#refusal(action, reference, options, answer);
      if (answer.status !== 206) return { answer, offset: 0 };
      if (continues(answer, from, size)) return { answer, offset: from };
      await answer.discard();
      throw new Failure("data_loss", `${action}: the registry sent another part than byte ${from} to ${size}`);
    };
    const resume = async (from: number, failures: number): Promise<Answer | undefined> => {
      const delay = manifest || from === 0 ? undefined : retryDelay(this.#options.retry, failures);
      if (delay === undefined) return undefined;
      await named(action, () => pause(delay, options.signal));
      const opened = await open(from);
      if (opened.offset === from) return opened.answer;
      await opened.answer.discard();
      return undefined;
    };
    const first = await open(offset);
    return { offset: first.offset, body: blobBody({ action, ...first, size, signal: options.signal, resume }) };
  }

  async pushBlob(
    reference: ImageReference,
    descriptor: Descriptor,
    source: (offset: number) => AsyncIterable<Uint8Array>,
    options: PushOptions = {},
  ): Promise<Arrival> {
    const action = `cannot push ${descriptor.digest} to ${formatReference(reference)}`;
    const { from = [], onSent, signal } = options;
    const { chunkBytes = defaultChunkBytes, retry } = this.#options;
    const upload = new BlobUpload({
      ...{ descriptor, source, from, onSent, signal, chunkBytes, retry },
      ask: (to, request) => this.#ask(reference, options, { ...request, action, to, actions: "pull,push" }),
      refusal: (answer) => this.#refusal(action, reference, options, answer, "pull,push"),
    });
    return await named(action, () => upload.run());
  }

  async pushManifest(
    reference: ImageReference,
    { digest, mediaType }: Descriptor,
    bytes: Uint8Array<ArrayBuffer>,
    options: DistributionOptions = {},
  ): Promise<void> {
    const action = `cannot push ${formatReference(reference)}`;
    const to = `manifests/${reference.tag ?? digest}`;
    const headers = { "content-type": mediaType };
    const put = { action, method: "PUT", to, headers, body: bytes, repeatable: true, actions: "pull,push" } as const;
    const answer = await this.#ask(reference, options, put);
    if (answer.status !== 201 && answer.status !== 200) {
      throw await this.#refusal(action, reference, options, answer, "pull,push");
    }
    await answer.discard();
    const there = answer.headers.get("docker-content-digest");
    if (there === null || there === digest) return;
    throw new Failure("data_loss", `${action}: the registry has ${JSON.stringify(there)} there, sent was ${digest}`);
  }

  /** Sends a request, and once more with the answer to the registry's challenge. */
  async #ask(
    reference: ImageReference,
    options: DistributionOptions,
    { actions = "pull", ...ask }: Ask,
  ): Promise<Answer> {
    const registry = this.#endpoint(reference, options);
    const access: Access = { registry, reference, actions, credentials: options.credentials };
    const url = typeof ask.to === "string" ? new URL(`${reference.repository}/${ask.to}`, registry) : ask.to;
    const { signal } = options;
    return await named(ask.action, async () => {
      // Who takes an upload for a registry is not entitled to its credentials.
      const authorization = url.origin === registry.origin ? this.#authorizer.remembered(access) : undefined;
      const answer = await this.#transport.send({ ...ask, url, authorization, signal });
      // Where a registry redirects to, nobody is entitled to its credentials.
      if (answer.status !== 401 || answer.url.origin !== registry.origin) return answer;
      const granting = this.#authorizer.answer(access, answer, authorization);
      const granted = await untilAborted(granting, signal).catch(async (error: unknown) => {
        await answer.discard();
        throw error;
      });
      if (granted === undefined) return answer;
      await answer.discard();
      return await this.#transport.send({ ...ask, url, authorization: granted, signal });
    });
  }

  async #refusal(
    action: string,
    reference: ImageReference,
    options: DistributionOptions,
    answer: Answer,
    actions: Access["actions"] = "pull",
  ): Promise<Failure> {
    const refused = answer.status === 401 || answer.status === 403;
    const access = {
      registry: this.#endpoint(reference, options),
      reference,
      actions,
      credentials: options.credentials,
    };
    return await registryFailure(action, answer, refused ? await this.#authorizer.advice(access) : undefined);
  }

  #endpoint(reference: ImageReference, { plainHttp }: DistributionOptions): URL {
    const { registry } = reference;
    const names = [registry, registry.replace(/:[0-9]+$/, "")];
    const configured = names.some((name) => this.#options.plainHttp.includes(name));
    return endpointOf(reference, plainHttp ?? (configured || undefined));
  }
}

/** Tells whether a 206 is the rest that was asked for. @see https://www.rfc-editor.org/rfc/rfc9110#field.content-range */
function continues(answer: Answer, from: number, size: number): boolean {
  const match = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/.exec(answer.headers.get("content-range") ?? "");
  if (match === null) return false;
  const [, start, end, total] = match;
  return Number(start) === from && Number(end) === size - 1 && (total === "*" || Number(total) === size);
}

async function named<T>(action: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw error instanceof Failure ? inContext(action, error) : error;
  }
}
