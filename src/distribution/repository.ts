import { type Descriptor, mediaTypes } from "../core/descriptor.ts";
import { type Digest, splitDigest } from "../core/digest.ts";
import type { Arrival, PushOptions } from "../core/distribution.ts";
import { Failure } from "../core/errors.ts";
import { formatReference, type ImageReference } from "../core/reference.ts";
import type { Answer } from "./answer.ts";
import type { Access, Authorizer } from "./authorizer.ts";
import { blobBody } from "./blob_body.ts";
import { BlobUpload } from "./blob_upload.ts";
import { pause, untilAborted } from "./cancel.ts";
import { inContext } from "./connection_failure.ts";
import type { RegistryHost } from "./hosts.ts";
import {
  describeBody,
  describeHeaders,
  describeReferrers,
  manifestTypes,
  maxManifestBytes,
} from "./manifest_answer.ts";
import { nextPage } from "./next_page.ts";
import { checkNetwork } from "./redirect.ts";
import { registryFailure } from "./registry_error.ts";
import { retryDelay, type RetryPolicy } from "./retry.ts";
import type { Slots } from "./slots.ts";
import type { Exchange, Transport } from "./transport.ts";

export interface RepositoryParts {
  readonly transport: Transport;
  readonly authorizer: Authorizer;
  readonly host: RegistryHost;
  /** What its user calls it, whichever host it is asked of. */
  readonly reference: ImageReference;
  readonly actions: Access["actions"];
  /** In place of what is known of the host. */
  readonly credentials: Access["credentials"];
  readonly signal: AbortSignal | undefined;
  readonly retry: RetryPolicy;
  readonly chunkBytes: number;
  /** How many blobs are fetched from a host at once. */
  readonly slots: Slots;
}

/** An answer's bytes, from one of them on. */
export interface Fetched {
  readonly offset: number;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

interface Ask extends Pick<Exchange, "method" | "body" | "repeatable"> {
  readonly action: string;
  /** Below the repository: `manifests/latest`; or where the registry said. */
  readonly to: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
}

/** How registries that keep no list of referrers answer who asks for it: as they should, and as some do. */
const unlisted: readonly number[] = [404, 400, 405, 406];

/** How many pages of a list are asked for; each has 1,000 entries at most. */
const maxPages = 32;

/** One repository at one of the hosts that serve it. */
export class Repository {
  readonly #parts: RepositoryParts;
  readonly #access: Access;
  readonly #name: string;
  /** Whether another host stands in for the registry: it is told for which one. */
  readonly #mirrors: boolean;

  constructor(parts: RepositoryParts) {
    const { host: { api, tls }, reference, actions, credentials } = parts;
    this.#parts = parts;
    this.#name = formatReference(reference);
    const itself = reference.registry === "docker.io" ? "registry-1.docker.io" : reference.registry;
    this.#mirrors = api.host !== new URL(`${api.protocol}//${itself}`).host;
    // What the caller says is for the registry that the caller named.
    this.#access = this.#mirrors
      ? { registry: api, reference: { ...reference, registry: api.host }, actions, tls }
      : { registry: api, reference, actions, credentials, tls };
  }

  /** Who is asked, for a message. */
  get host(): string {
    return this.#parts.host.api.host;
  }

  async resolve(): Promise<Descriptor> {
    const { digest: wanted, tag = "latest" } = this.#parts.reference;
    const action = `cannot resolve ${this.#name}`;
    const to = `manifests/${wanted ?? tag}`;
    const headers = { accept: manifestTypes.join(", ") };
    const head = await this.#ask({ action, method: "HEAD", to, headers });
    await head.discard();
    if (head.ok) {
      const described = describeHeaders(action, head, wanted);
      if (described !== undefined) return described;
    } else if (head.status === 429 || head.status >= 500) {
      throw await registryFailure(action, head);
    }
    // The reason of a refusal is in a body, and some registries do not answer HEAD as they should.
    const answer = await this.#ask({ action, method: "GET", to, headers });
    if (!answer.ok) throw await this.#refusal(action, answer);
    return await named(action, () => describeBody(action, answer, wanted));
  }

  async referrers(digest: Digest): Promise<readonly Descriptor[]> {
    const action = `cannot list what refers to ${digest} of ${this.#name}`;
    const { algorithm, hex } = splitDigest(digest);
    // A registry without the list has it under a tag, if anybody made one. Its name is cut as the specification says.
    return await this.#pages(action, `referrers/${digest}`) ??
      await this.#pages(action, `manifests/${algorithm}-${hex.slice(0, 64)}`) ?? [];
  }

  /** All pages of an index. @returns undefined where there is none. */
  async #pages(action: string, first: string): Promise<readonly Descriptor[] | undefined> {
    const found: Descriptor[] = [];
    let to: string | URL | undefined = first;
    for (let pages = 0; to !== undefined; pages++) {
      if (pages === maxPages) throw new Failure("resource_exhausted", `${action}: it has more than ${maxPages} pages`);
      const answer: Answer = await this.#ask({ action, method: "GET", to, headers: { accept: mediaTypes.index } });
      if (!answer.ok) {
        if (to !== first || !unlisted.includes(answer.status)) throw await this.#refusal(action, answer);
        await answer.discard();
        return undefined;
      }
      found.push(...await named(action, () => describeReferrers(action, answer)));
      to = await named(action, async () => nextPage(answer));
    }
    return found;
  }

  async fetch(descriptor: Descriptor, start: number): Promise<Fetched> {
    const { signal } = this.#parts;
    const { mediaType, digest, size } = descriptor;
    const manifest = manifestTypes.includes(mediaType);
    const action = `cannot fetch ${digest} of ${this.#name}`;
    const offset = manifest ? 0 : start;
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
      const answer = await this.#ask({ action, method: "GET", to, headers });
      if (from > 0 && answer.status === 416) {
        await answer.discard();
        return await open(0);
      }
      if (!answer.ok) throw await this.#refusal(action, answer);
      if (answer.status !== 206) return { answer, offset: 0 };
      if (continues(answer, from, size)) return { answer, offset: from };
      await answer.discard();
      throw new Failure("data_loss", `${action}: the registry sent another part than byte ${from} to ${size}`);
    };
    const resume = async (from: number, failures: number): Promise<Answer | undefined> => {
      const delay = manifest || from === 0 ? undefined : retryDelay(this.#parts.retry, failures);
      if (delay === undefined) return undefined;
      await named(action, () => pause(delay, signal));
      const opened = await open(from);
      if (opened.offset === from) return opened.answer;
      await opened.answer.discard();
      return undefined;
    };
    const { slots, host } = this.#parts;
    const onEnd = manifest ? () => {} : await named(action, () => slots.take(host.api.host, signal));
    try {
      const first = await open(offset);
      return { offset: first.offset, body: blobBody({ action, ...first, size, signal, resume, onEnd }) };
    } catch (error) {
      onEnd();
      throw error;
    }
  }

  async pushBlob(
    descriptor: Descriptor,
    source: (offset: number) => AsyncIterable<Uint8Array>,
    { from = [], onSent }: Pick<PushOptions, "from" | "onSent">,
  ): Promise<Arrival> {
    const action = `cannot push ${descriptor.digest} to ${this.#name}`;
    const { chunkBytes, retry, signal } = this.#parts;
    const upload = new BlobUpload({
      ...{ descriptor, source, from, onSent, signal, chunkBytes, retry },
      ask: (to, request) => this.#ask({ ...request, action, to }),
      refusal: (answer) => this.#refusal(action, answer),
    });
    return await named(action, () => upload.run());
  }

  async pushManifest({ digest, mediaType }: Descriptor, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const action = `cannot push ${this.#name}`;
    const to = `manifests/${this.#parts.reference.tag ?? digest}`;
    const headers = { "content-type": mediaType };
    const answer = await this.#ask({ action, method: "PUT", to, headers, body: bytes, repeatable: true });
    if (answer.status !== 201 && answer.status !== 200) throw await this.#refusal(action, answer);
    await answer.discard();
    const there = answer.headers.get("docker-content-digest");
    if (there === null || there === digest) return;
    throw new Failure("data_loss", `${action}: the registry has ${JSON.stringify(there)} there, sent was ${digest}`);
  }

  /** Sends a request, and once more with the answer to the registry's challenge. */
  async #ask({ action, to, headers, ...ask }: Ask): Promise<Answer> {
    const { transport, authorizer, host: { api, tls, headers: own }, reference, signal } = this.#parts;
    const url = typeof to === "string" ? new URL(`${reference.repository}/${to}`, api) : to;
    const home = url.origin === api.origin;
    if (home && this.#mirrors) url.searchParams.set("ns", reference.registry);
    const addresses = home ? undefined : await named(action, () => checkNetwork(api, url));
    // Who takes an upload for a registry is not entitled to what is for the registry.
    const exchange = { ...ask, url, addresses, signal, tls, ...(headers && { headers }), own: home ? own : {} };
    return await named(action, async () => {
      const authorization = home ? authorizer.remembered(this.#access) : undefined;
      const answer = await transport.send({ ...exchange, authorization });
      // Where a registry redirects to, nobody is entitled to its credentials.
      if (answer.status !== 401 || answer.url.origin !== api.origin) return answer;
      const granting = authorizer.answer(this.#access, answer, authorization);
      const granted = await untilAborted(granting, signal).catch(async (error: unknown) => {
        await answer.discard();
        throw error;
      });
      if (granted === undefined) return answer;
      await answer.discard();
      return await transport.send({ ...exchange, authorization: granted });
    });
  }

  async #refusal(action: string, answer: Answer): Promise<Failure> {
    const refused = answer.status === 401 || answer.status === 403;
    return await registryFailure(
      action,
      answer,
      refused ? await this.#parts.authorizer.advice(this.#access) : undefined,
    );
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
