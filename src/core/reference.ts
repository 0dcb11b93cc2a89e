import { type Digest, parseDigest } from "./digest.ts";
import { Failure } from "./errors.ts";

/**
 * What an image is called: where it is, and which one of it is meant.
 *
 * `registry` is a host with an optional port, in lower case (`docker.io`, `localhost:5000`, `[::1]:5000`); `repository`
 * is its path there (`library/busybox`). `tag` or `digest` or both say which one; a digest is the stronger.
 */
export interface ImageReference {
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** The registry of names that carry none. */
const defaultRegistry = "docker.io";
const defaultTag = "latest";
/** Docker's own images are named without it. */
const officialPrefix = "library/";

/** Host, slash and path together, as Docker and the registries limit them. */
const maxNameLength = 255;
const maxTagLength = 128;
/** A longest name, a tag, and a sha512 digest. */
const maxLength = maxNameLength + 1 + maxTagLength + 1 + 135;

// Each repetition begins with a character that cannot end the one before, so matching is linear.
const pathComponent = /^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$/;
const hostLabel = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const bareId = /^[0-9a-f]{64}$/;

/**
 * Parses an image name as people write it, with Docker's rules: `busybox` means
 * `docker.io/library/busybox:latest`. The first part is a registry when it has a dot or a port, or is `localhost`.
 *
 * @param text for example `alpine:3.20`, `ghcr.io/owner/name@sha256:…`, `[::1]:5000/name:tag`.
 * @throws invalid_argument, saying which part is wrong and how it should be.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#pulling-manifests
 * @example
 * ```ts
 * parseReference("busybox"); // { registry: "docker.io", repository: "library/busybox", tag: "latest" }
 * ```
 */
export function parseReference(text: string): ImageReference {
  if (text === "") throw refused(text, "it is empty");
  if (text.length > maxLength) {
    throw refused(text, `it has ${text.length} characters, at most ${maxLength} are allowed`);
  }
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : digestIn(text, text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);

  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : tagIn(text, named.slice(colon + 1));
  const name = colon < 0 ? named : named.slice(0, colon);

  const { registry, path } = splitRegistry(text, name);
  const repository = registry === defaultRegistry && path !== "" && !path.includes("/") ? officialPrefix + path : path;
  checkRepository(text, repository);
  if (registry.length + 1 + repository.length > maxNameLength) {
    throw refused(text, `registry and repository are longer than ${maxNameLength} characters`);
  }
  if (digest !== undefined) return { registry, repository, ...(tag === undefined ? {} : { tag }), digest };
  return { registry, repository, tag: tag ?? defaultTag };
}

/** Writes a reference in full: `docker.io/library/busybox:latest`. */
export function formatReference(reference: ImageReference): string {
  return `${reference.registry}/${reference.repository}${suffix(reference)}`;
}

/** Writes a reference as short as `parseReference` reads it back: `busybox:latest`. For people. */
export function familiarReference(reference: ImageReference): string {
  const { registry, repository } = reference;
  const unprefixed = repository.startsWith(officialPrefix) ? repository.slice(officialPrefix.length) : repository;
  const short = unprefixed.includes("/") ? repository : unprefixed;
  const [first = "", ...rest] = short.split("/");
  const ambiguous = rest.length > 0 && looksLikeRegistry(first);
  return registry !== defaultRegistry || ambiguous ? formatReference(reference) : short + suffix(reference);
}

function suffix({ tag, digest }: ImageReference): string {
  return `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

function refused(text: string, why: string): Failure {
  const shown = text.length > 140 ? `${text.slice(0, 140)}…` : text;
  return new Failure("invalid_argument", `cannot parse image reference ${JSON.stringify(shown)}: ${why}`);
}

function looksLikeRegistry(part: string): boolean {
  return part.includes(".") || part.includes(":") || part.toLowerCase() === "localhost";
}

function splitRegistry(text: string, name: string): { registry: string; path: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  if (!looksLikeRegistry(first)) return { registry: defaultRegistry, path: name };
  const registry = first.toLowerCase();
  checkRegistry(text, registry);
  return { registry: registry === "index.docker.io" ? defaultRegistry : registry, path: name.slice(slash + 1) };
}

function checkRegistry(text: string, registry: string): void {
  const quoted = JSON.stringify(registry);
  const bracket = registry.startsWith("[") ? registry.indexOf("]") : -1;
  const colon = registry.indexOf(":", bracket + 1);
  const host = colon < 0 ? registry : registry.slice(0, colon);
  if (colon >= 0) {
    const port = registry.slice(colon + 1);
    if (!/^[0-9]{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535) {
      throw refused(text, `the registry ${quoted} has no port from 1 to 65535 behind its colon`);
    }
  }
  const valid = bracket >= 0
    ? URL.canParse(`http://${host}/`)
    : host.split(".").every((label) => hostLabel.test(label));
  if (!valid) {
    throw refused(text, `the registry ${quoted} is no host name or address, as example.com, 10.0.0.1 or [::1]`);
  }
}

function checkRepository(text: string, repository: string): void {
  const quoted = JSON.stringify(repository);
  if (repository === "") throw refused(text, "it names no repository");
  const lower = repository.toLowerCase();
  if (repository !== lower && lower.split("/").every((part) => pathComponent.test(part))) {
    throw refused(text, `the repository ${quoted} must be lower case: want ${JSON.stringify(lower)}`);
  }
  if (repository.startsWith(officialPrefix) && bareId.test(repository.slice(officialPrefix.length))) {
    throw refused(text, "64 hex digits are an id, not a name: want name@sha256:… for a digest");
  }
  for (const part of repository.split("/")) {
    if (part === "") throw refused(text, `the repository ${quoted} has an empty part`);
    if (part === "." || part === "..") throw refused(text, `the repository ${quoted} has a part that is ${part}`);
    if (!pathComponent.test(part)) {
      throw refused(
        text,
        `the part ${JSON.stringify(part)} of the repository may have lower-case letters and digits, ` +
          `with one dot, one or two underscores, or dashes between them`,
      );
    }
  }
}

function tagIn(text: string, tag: string): string {
  if (tag === "") throw refused(text, "no tag follows the colon");
  if (tag.length > maxTagLength) {
    throw refused(text, `the tag has ${tag.length} characters, at most ${maxTagLength} are allowed`);
  }
  if (tagPattern.test(tag)) return tag;
  throw refused(
    text,
    `the tag ${JSON.stringify(tag)} may have letters, digits, _, . and -, and begins with a letter, a digit or _`,
  );
}

function digestIn(text: string, digest: string): Digest {
  try {
    return parseDigest(digest);
  } catch {
    throw refused(
      text,
      `the digest ${JSON.stringify(digest)} must be sha256: and 64, or sha512: and 128, lower-case hex digits`,
    );
  }
}
