import type { Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { type OddAnswer, type OddServer, oddServer } from "../distribution/odd_server.ts";
import { digestOfBytes } from "./layout_folder.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a registry says in place of a blob or manifest. */
export type Lie = (socket: Socket) => OddAnswer | undefined;

/** A registry that serves what it is given, and lies where it is told to. */
export class HostileRegistry implements AsyncDisposable {
  readonly #contents = new Map<string, { readonly mediaType: string; readonly bytes: Bytes }>();
  readonly #lies = new Map<string, Lie>();
  readonly #server: OddServer;

  static async start(): Promise<HostileRegistry> {
    const server = await oddServer(({ path }, socket) => registry.#answer(path, socket));
    const registry = new HostileRegistry(server);
    return registry;
  }

  private constructor(server: OddServer) {
    this.#server = server;
  }

  get host(): string {
    return this.#server.host;
  }

  /** How often something was fetched. */
  asked(digest: string): number {
    return this.#server.requests.filter(({ method, path }) => method === "GET" && path.endsWith(digest)).length;
  }

  /** Adds a blob or manifest. @param content an object is written as JSON. @param tag what it is called, too. */
  put(mediaType: string, content: Bytes | object, tag?: string): Descriptor {
    const bytes = content instanceof Uint8Array ? content : new TextEncoder().encode(JSON.stringify(content));
    const digest = digestOfBytes(bytes);
    for (const name of tag === undefined ? [digest] : [digest, tag]) this.#contents.set(name, { mediaType, bytes });
    return { mediaType, digest, size: bytes.length };
  }

  /** From now on says something else in place of it. @param name a digest or tag. */
  lie(name: string, lie: Lie): void {
    this.#lies.set(name, lie);
  }

  /** Adds a gzipped layer. */
  layer(archive: Bytes): Descriptor {
    return this.put(mediaTypes.layerGzip, gzipSync(archive, { level: 1 }));
  }

  /** Adds an image. @param archives its layers as they are when they are unpacked. @returns its manifest. */
  image(layers: readonly Descriptor[], archives: readonly Bytes[], tag?: string): Descriptor {
    const config = this.put(mediaTypes.config, {
      os: "linux",
      architecture: "amd64",
      rootfs: { type: "layers", diff_ids: archives.map(digestOfBytes) },
    });
    return this.put(
      mediaTypes.manifest,
      { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers },
      tag,
    );
  }

  #answer(path: string, socket: Socket): OddAnswer | undefined {
    const name = decodeURIComponent(path.split("?", 1)[0]?.split("/").at(-1) ?? "");
    const lie = this.#lies.get(name);
    if (lie !== undefined) return lie(socket);
    const content = this.#contents.get(name);
    if (content === undefined) return { status: 404 };
    return {
      status: 200,
      headers: { "content-type": content.mediaType, "docker-content-digest": digestOfBytes(content.bytes) },
      body: content.bytes,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#server[Symbol.asyncDispose]());
  }
}
