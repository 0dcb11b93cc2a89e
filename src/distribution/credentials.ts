import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { Failure, messageOf } from "../core/errors.ts";
import type { ImageReference } from "../core/reference.ts";
import { decodeBase64 } from "./base64.ts";

/** Who we are at a registry. */
export type Credentials =
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token. */
  | { readonly kind: "identity"; readonly token: string };

/** Asks a program in whose keeping credentials are. @param server what it knows them by. */
export type AskHelper = (program: string, server: string) => Promise<Credentials | undefined>;

const Entry = v.object({
  auth: v.optional(v.string()),
  username: v.optional(v.string()),
  password: v.optional(v.string()),
  identitytoken: v.optional(v.string()),
});
const ConfigFile = v.object({
  auths: v.optional(v.nullable(v.record(v.string(), v.nullable(Entry)))),
  credsStore: v.optional(v.string()),
  credHelpers: v.optional(v.nullable(v.record(v.string(), v.string()))),
});

/** Where Docker keeps its configuration. */
export function dockerConfigPath(env: Readonly<Record<string, string | undefined>>): string {
  return join(env["DOCKER_CONFIG"] || join(env["HOME"] || "/root", ".docker"), "config.json");
}

/**
 * Looks up the credentials for a repository in Docker's configuration file, as `docker login` and `skopeo login` write
 * it. The entry that names the longest part of the repository wins.
 * @returns undefined where there are none, or no file.
 * @throws failed_precondition when the file cannot be read or has another form; what asking a helper throws.
 * @see https://docs.docker.com/reference/cli/docker/login/
 */
export async function dockerCredentials(
  path: string,
  reference: ImageReference,
  ask: AskHelper,
): Promise<Credentials | undefined> {
  const config = await readConfig(path);
  if (config === undefined) return undefined;
  const entry = closest(config.auths ?? {}, reference);
  const found = entry && credentialsIn(path, entry);
  if (found !== undefined) return found;
  const helper = closest(config.credHelpers ?? {}, reference) ?? config.credsStore;
  const server = reference.registry === "docker.io" ? "https://index.docker.io/v1/" : reference.registry;
  return helper ? await ask(`docker-credential-${helper}`, server) : undefined;
}

async function readConfig(path: string): Promise<v.InferOutput<typeof ConfigFile> | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unusable(path, messageOf(cause));
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which may hold a password.
    throw unusable(path, "it is no JSON");
  }
  const parsed = v.safeParse(ConfigFile, value);
  if (parsed.success) return parsed.output;
  throw unusable(path, `${v.getDotPath(parsed.issues[0]) ?? "it"} has another type than Docker writes`);
}

function credentialsIn(path: string, entry: v.InferOutput<typeof Entry>): Credentials | undefined {
  if (entry.identitytoken) return { kind: "identity", token: entry.identitytoken };
  if (entry.username) return password(entry.username, entry.password ?? "");
  if (!entry.auth) return undefined;
  const decoded = decodeBase64(entry.auth)?.replace(/\0+$/, "") ?? "";
  const colon = decoded.indexOf(":");
  if (colon <= 0) throw unusable(path, "an auth is not the base64 of name:password");
  return password(decoded.slice(0, colon), decoded.slice(colon + 1));
}

/** A name of `<token>` says that the other one is no password. */
export function password(username: string, password: string): Credentials {
  return username === "<token>" ? { kind: "identity", token: password } : { kind: "password", username, password };
}

function closest<T>(entries: Readonly<Record<string, T | null>>, reference: ImageReference): T | undefined {
  let best: T | undefined;
  let bestLength = -1;
  for (const [key, entry] of Object.entries(entries)) {
    const length = entry === null ? -1 : matchLength(key, reference);
    if (entry !== null && length > bestLength) [best, bestLength] = [entry, length];
  }
  return best;
}

/** How much of the repository a key names: 0 for its registry alone, -1 for another. */
function matchLength(key: string, { registry, repository }: ImageReference): number {
  const bare = key.replace(/^https?:\/\//, "").replace(/\/(?:v[12]\/?)?$/, "");
  const slash = bare.indexOf("/");
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const names = registry === "docker.io" ? ["docker.io", "index.docker.io", "registry-1.docker.io"] : [registry];
  if (!names.includes(host)) return -1;
  const path = slash < 0 ? "" : bare.slice(slash + 1);
  return path === "" || repository === path || repository.startsWith(`${path}/`) ? path.length : -1;
}

function unusable(path: string, why: string): Failure {
  return new Failure("failed_precondition", `cannot read credentials from ${JSON.stringify(path)}: ${why}`);
}
