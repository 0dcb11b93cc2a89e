import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mediaTypes } from "../../src/core/descriptor.ts";
import type { Digest } from "../../src/core/digest.ts";
import { digestOfBytes } from "../support/layout_folder.ts";

/** The tokens of the namespaces that the tests' registries know. */
export const tokens = { default: "0123456789abcdef", team: "team-0123456789abcdef" } as const;

/** What makes a `World` serve a registry. */
export const registryFlags = { "registry-listen": "127.0.0.1:0" } as const;
export const registryEnv = { MAYFLY_REGISTRY_TOKENS: JSON.stringify(tokens) } as const;

export interface Asked {
  readonly body?: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A registry as one namespace sees it. */
export class RegistryClient {
  readonly host: string;
  readonly #authorization: string;

  constructor(host: string, namespace: keyof typeof tokens = "default") {
    this.host = host;
    this.#authorization = `Basic ${Buffer.from(`${namespace}:${tokens[namespace]}`).toString("base64")}`;
  }

  /** @param path behind `/v2/`, or one that an answer named. */
  async ask(method: string, path: string, { body, headers = {} }: Asked = {}): Promise<Response> {
    const url = `http://${this.host}${path.startsWith("/v2/") ? path : `/v2/${path}`}`;
    const init: RequestInit & { duplex?: "half" } = {
      method,
      headers: { authorization: this.#authorization, ...headers },
      ...(body === undefined ? {} : { body, duplex: "half" }),
    };
    return await fetch(url, init);
  }

  /** Asks for an answer with a status. @returns its body's text, and its headers. */
  async expect(
    status: number,
    method: string,
    path: string,
    asked: Asked = {},
  ): Promise<{ readonly text: string; readonly headers: Headers }> {
    const answer = await this.ask(method, path, asked);
    const text = await answer.text();
    assert.equal(answer.status, status, `${method} ${path}: ${text}`);
    return { text, headers: answer.headers };
  }

  /** Asks for something that is refused with codes of the specification. */
  async refuse(
    status: number,
    codes: readonly string[],
    method: string,
    path: string,
    asked: Asked = {},
  ): Promise<{ readonly headers: Headers; readonly errors: readonly RegistryError[] }> {
    const { text, headers } = await this.expect(status, method, path, asked);
    const { errors }: { errors: RegistryError[] } = JSON.parse(text);
    assert.deepEqual(errors.map(({ code }) => code), codes, text);
    assert.match(headers.get("content-type") ?? "", /^application\/json/);
    return { headers, errors };
  }

  /** Pushes a blob with one request. */
  async blob(repository: string, content: string | Uint8Array<ArrayBuffer>, mediaType = mediaTypes.layer as string) {
    const digest = digestOfBytes(content);
    await this.expect(201, "POST", `${repository}/blobs/uploads/?digest=${digest}`, { body: content });
    return { mediaType, digest, size: Buffer.byteLength(content) };
  }

  /** Pushes a manifest, or an index where it names manifests. @param reference default: its digest. */
  async manifest(repository: string, document: Readonly<Record<string, unknown>>, reference?: string) {
    const mediaType = String(
      document["mediaType"] ?? ("manifests" in document ? mediaTypes.index : mediaTypes.manifest),
    );
    const text = JSON.stringify({ schemaVersion: 2, mediaType, ...document });
    const digest = digestOfBytes(text);
    const { headers } = await this.expect(201, "PUT", `${repository}/manifests/${reference ?? digest}`, {
      body: text,
      headers: { "content-type": mediaType },
    });
    assert.equal(headers.get("docker-content-digest"), digest);
    return { descriptor: { mediaType, digest, size: Buffer.byteLength(text) }, text, headers };
  }

  /** Pushes an artifact of one layer. */
  async artifact(
    repository: string,
    content: string,
    more: Readonly<Record<string, unknown>> & { readonly reference?: string } = {},
  ) {
    const { reference, ...fields } = more;
    const config = await this.blob(repository, "{}", "application/vnd.oci.empty.v1+json");
    const layer = await this.blob(repository, content, "text/plain");
    const artifactType = "application/vnd.example.note";
    return {
      layer,
      ...await this.manifest(repository, { artifactType, config, layers: [layer], ...fields }, reference),
    };
  }
}

interface RegistryError {
  readonly code: string;
  readonly message: string;
  readonly detail?: { readonly digest?: Digest };
}
