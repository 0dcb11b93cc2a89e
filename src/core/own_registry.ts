import { formatReference, type ImageReference, parseReference } from "./reference.ts";

/** The registry of names of images that were pushed to this daemon. */
const ownRegistry = "localhost";

/**
 * The registry that this daemon is itself. Clients reach it by several names (`localhost:5000`, `127.0.0.1:5000`), but an
 * image has one: `localhost/…`. While it serves nothing, no name is its own.
 */
export class OwnRegistry {
  #names: ReadonlySet<string> = new Set();

  /** @param names the hosts, with their ports, by which it is reached from now on. */
  serveAs(names: readonly string[]): void {
    this.#names = new Set([ownRegistry, ...names.map((name) => name.toLowerCase())]);
  }

  /** Whether a reference is to an image in it. */
  has({ registry }: ImageReference): boolean {
    return this.#names.has(registry);
  }

  /** Parses a reference, which comes out as of `canonical`. @throws invalid_argument. */
  parse(text: string): ImageReference {
    return this.canonical(parseReference(text));
  }

  /** A reference of its own by the one name that images here have; others as they are. */
  canonical(reference: ImageReference): ImageReference {
    return this.has(reference) ? { ...reference, registry: ownRegistry } : reference;
  }
}

/** The name of the image that a tag of the own registry is. */
export function ownImageName(repository: string, tag: string): string {
  return formatReference({ registry: ownRegistry, repository, tag });
}

/** What the names of a repository's tags begin with. */
export function ownTagPrefix(repository: string): string {
  return `${ownRegistry}/${repository}:`;
}

/** The repository of an image that is in the own registry. */
export function ownRepository(name: string): string | undefined {
  const [, repository] = /^localhost\/([^:@]+)/.exec(name) ?? [];
  return repository;
}
