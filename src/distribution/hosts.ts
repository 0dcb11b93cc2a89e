import { readdir, readFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { parse as parseToml } from "smol-toml";
import * as v from "valibot";
import { Failure, messageOf } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import { Tls, type TlsOptions } from "./tls.ts";

export type Capability = "pull" | "resolve" | "push";
export const everyCapability: readonly Capability[] = ["pull", "resolve", "push"];

/** One place that serves a registry's repositories: the registry itself, or another that stands in for it. */
export interface RegistryHost {
  /** Where its API is; ends in a slash. */
  readonly api: URL;
  readonly capabilities: readonly Capability[];
  /** Sent with every request to it. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Tls | undefined;
}

const texts = v.union([v.string(), v.array(v.string())]);
const HostSchema = v.object({
  capabilities: v.optional(
    v.pipe(v.array(v.picklist(everyCapability, `one of ${everyCapability.join(", ")}`)), v.readonly()),
  ),
  ca: v.optional(texts),
  client: v.optional(v.union([v.string(), v.array(v.union([v.string(), v.pipe(v.array(v.string()), v.length(2))]))])),
  skip_verify: v.optional(v.boolean()),
  override_path: v.optional(v.boolean()),
  header: v.optional(v.record(v.pipe(v.string(), v.regex(/^[A-Za-z0-9-]+$/, "a header's name")), texts)),
});
type HostTable = v.InferOutput<typeof HostSchema>;
const FileSchema = v.object({
  server: v.optional(v.string()),
  ...HostSchema.entries,
  host: v.optional(v.record(v.string(), HostSchema), {}),
});

/** How long what was read is believed. */
const rereadMs = 5_000;
const maxFileBytes = 1 << 20;

/**
 * The folder that says by which hosts registries are reached: `<folder>/<registry>/hosts.toml`, or the certificates alone,
 * as Docker has them; `_default` for all that have no folder of their own.
 * @see https://github.com/containerd/containerd/blob/v2.1.0/docs/hosts.md
 */
export class HostsFolder {
  readonly #folder: string;
  readonly #read = new Map<string, { readonly key: string; readonly at: number; readonly hosts: RegistryHost[] }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * The hosts of a registry, in the order in which they are to be tried.
   * @param registry host, or host:port. @param server where the registry itself is, unless the file says it.
   * @throws failed_precondition for a file that cannot be read.
   */
  async hosts(registry: string, server: URL): Promise<readonly RegistryHost[]> {
    const name = `${registry} ${server}`;
    const known = this.#read.get(name);
    if (known !== undefined && Date.now() - known.at < rereadMs) return known.hosts;
    const found = await this.#find(registry);
    const key = JSON.stringify(found ?? null);
    // Connections live with the settings that they were made by.
    const hosts = known?.key === key ? known.hosts : hostsOf(found, server);
    this.#read.set(name, { key, at: Date.now(), hosts });
    return hosts;
  }

  async #find(registry: string): Promise<FoundFolder | undefined> {
    // A colon is in no name of Windows: containerd writes such folders with underscores, too.
    for (const name of [registry, registry.replace(/:([0-9]+)$/, "_$1_"), "_default"]) {
      const folder = join(this.#folder, name);
      const entries = await listed(folder);
      if (entries === undefined) continue;
      if (entries.includes("hosts.toml")) return await readHosts(folder);
      return { folder, hosts: [], server: await readCertificates(folder, entries) };
    }
    return undefined;
  }
}

/** What a registry's folder says, with the certificates read. */
interface FoundFolder {
  readonly folder: string;
  readonly server: FoundHost;
  readonly hosts: readonly FoundHost[];
}

interface FoundHost extends Pick<RegistryHost, "capabilities" | "headers"> {
  /** Undefined for the registry itself, where it is not said. */
  readonly url: string | undefined;
  readonly tls: TlsOptions | undefined;
}

function hostsOf(found: FoundFolder | undefined, server: URL): RegistryHost[] {
  const plain: RegistryHost = { api: server, capabilities: everyCapability, headers: {}, tls: undefined };
  if (found === undefined) return [plain];
  return [...found.hosts, found.server].map(({ url, tls, ...rest }) => {
    const api = url === undefined ? server : new URL(url);
    return { ...rest, api, tls: tls === undefined || api.protocol !== "https:" ? undefined : new Tls(api.origin, tls) };
  });
}

async function readHosts(folder: string): Promise<FoundFolder> {
  const path = join(folder, "hosts.toml");
  let document: unknown;
  const text = await readSmall(path);
  try {
    document = parseToml(text);
  } catch (error) {
    throw unusable(path, messageOf(error).split("\n", 1)[0] ?? "", error);
  }
  const { server, host, ...own } = parse(FileSchema, document, `cannot read ${JSON.stringify(path)}`);
  const hosts: FoundHost[] = [];
  for (const [name, table] of Object.entries(host)) hosts.push(await readHost(folder, path, name, table));
  return { folder, hosts, server: await readHost(folder, path, server, own) };
}

async function readHost(
  folder: string,
  path: string,
  name: string | undefined,
  { capabilities = everyCapability, ca, client, skip_verify, override_path, header = {} }: HostTable,
): Promise<FoundHost> {
  const file = (name: string) => readSmall(isAbsolute(name) ? name : join(folder, name));
  const pairs = client === undefined ? [] : [client].flat(1);
  const read = async (pair: string | string[]) => {
    const [cert = "", key = cert] = [pair].flat();
    return { cert: await file(cert), key: await file(key) };
  };
  const tls: TlsOptions = {
    ...(ca === undefined ? {} : { ca: await Promise.all([ca].flat().map(file)) }),
    ...(pairs.length === 0 ? {} : { client: await Promise.all(pairs.map(read)) }),
    ...(skip_verify === undefined ? {} : { skipVerify: skip_verify }),
  };
  return {
    url: name === undefined ? undefined : apiOf(path, name, override_path === true),
    capabilities,
    headers: Object.fromEntries(Object.entries(header).map(([name, value]) => [name, [value].flat().join(", ")])),
    tls: Object.keys(tls).length === 0 ? undefined : tls,
  };
}

/** `*.crt` are CAs; `x.cert` and `x.key` are a pair. @see https://docs.docker.com/engine/security/certificates/ */
async function readCertificates(folder: string, entries: readonly string[]): Promise<FoundHost> {
  const file = (name: string) => readSmall(join(folder, name));
  const ca = await Promise.all(entries.filter((name) => name.endsWith(".crt")).map(file));
  const certs = entries.filter((name) => name.endsWith(".cert"));
  const client = await Promise.all(certs.map(async (name) => ({
    cert: await file(name),
    key: await file(name.replace(/cert$/, "key")),
  })));
  const tls = { ...(ca.length === 0 ? {} : { ca }), ...(client.length === 0 ? {} : { client }) };
  return {
    url: undefined,
    capabilities: everyCapability,
    headers: {},
    tls: ca.length + client.length === 0 ? undefined : tls,
  };
}

/** Where a host's API is: below `/v2/`, unless its address says all. */
function apiOf(path: string, name: string, overridePath: boolean): string {
  const text = /^https?:\/\//.test(name) ? name : `https://${name}`;
  if (!URL.canParse(text)) throw unusable(path, `${JSON.stringify(name)} is no address`);
  const url = new URL(text);
  const base = url.pathname.replace(/\/+$/, "");
  url.pathname = overridePath || base.endsWith("/v2") ? `${base}/` : `${base}/v2/`;
  return url.href;
}

async function listed(folder: string): Promise<readonly string[] | undefined> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unusable(folder, messageOf(error), error);
  }
}

async function readSmall(path: string): Promise<string> {
  try {
    const text = await readFile(path, "utf8");
    if (text.length <= maxFileBytes) return text;
  } catch (error) {
    throw unusable(path, messageOf(error), error);
  }
  throw unusable(path, `it has more than ${maxFileBytes} bytes`);
}

function unusable(path: string, why: string, cause?: unknown): Failure {
  return new Failure(
    "failed_precondition",
    `cannot read ${JSON.stringify(path)}, which says how registries are reached: ${why}`,
    {
      cause,
    },
  );
}
