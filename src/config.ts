import * as v from "valibot";
import { Failure, messageOf } from "./core/errors.ts";
import { defaultKeptRevisions, NameSchema } from "./core/function.ts";
import { ImageRuleSchema } from "./core/image_policy.ts";
import { OidcSchema } from "./core/oidc.ts";
import { SourcesSchema } from "./core/sources.ts";

/** How a text from a flag or an environment variable becomes a value. */
type Form = "text" | "number" | "boolean" | "list" | "json" | "secret" | "secrets";

interface Option<Schema extends v.GenericSchema = v.GenericSchema> {
  readonly schema: Schema;
  readonly form: Form;
  /** One sentence for `--help`, with unit and default. */
  readonly help: string;
}

const path = v.pipe(
  v.string(),
  v.startsWith("/", "an absolute path"),
  v.maxLength(90, "at most 90 bytes, for socket paths"),
);
const address = v.pipe(
  v.string(),
  v.regex(/^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d{1,5}$/, "an address and a port, as 127.0.0.1:8080 or [::1]:8080"),
);
const proxyForm = "addresses, networks as 10.0.0.0/8, or unix";
const network = v.pipe(
  v.string(),
  v.check((text) => {
    const [, address = "", bits] = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text) ?? [];
    const ip4 = v.is(v.pipe(v.string(), v.ipv4()), address);
    return (ip4 || v.is(v.pipe(v.string(), v.ipv6()), address)) && Number(bits) <= (ip4 ? 32 : 128);
  }, proxyForm),
);
const count = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));

function option<Schema extends v.GenericSchema>(form: Form, schema: Schema, help: string): Option<Schema> {
  return { schema, form, help };
}

/**
 * Every option of the daemon. Each can stand in the configuration file under its name, in the environment as `MAYFLY_` and
 * its name in capitals (`MAYFLY_MAX_CONCURRENCY`), and on the command line in dashes (`--max-concurrency`). The command
 * line wins over the environment, that over the file, that over the default. Secrets have no place on the command line,
 * which every user of the machine can read.
 */
export const options = {
  root: option(
    "text",
    v.optional(path, "/var/lib/mayfly"),
    "folder for what must last: content, snapshots, database; of a user: $XDG_DATA_HOME/mayfly",
  ),
  run: option(
    "text",
    v.optional(path, "/run/mayfly"),
    "folder for what may vanish at a reboot: socket, root mount point; of a user: $XDG_RUNTIME_DIR/mayfly",
  ),
  listen: option(
    "text",
    v.optional(v.union([address, v.literal("off")]), "127.0.0.1:8080"),
    "TCP address that serves /fn; off for none",
  ),
  adminListen: option(
    "text",
    v.optional(v.union([address, v.literal("off")]), "off"),
    "another TCP address, where /v1 and /metrics are served to who has a token; default: off",
  ),
  tlsCert: option(
    "text",
    v.optional(v.pipe(v.string(), v.startsWith("/", "an absolute path"), v.maxLength(4096))),
    "file of a certificate and its chain (PEM), so that TLS is spoken over TCP; it may change; needs tlsKey",
  ),
  tlsKey: option(
    "text",
    v.optional(v.pipe(v.string(), v.startsWith("/", "an absolute path"), v.maxLength(4096))),
    "file of its private key (PEM)",
  ),
  adminTcp: option(
    "boolean",
    v.optional(v.boolean(), false),
    "also serve /v1 and /metrics over TCP, to who has a token",
  ),
  adminToken: option(
    "secret",
    v.optional(v.pipe(v.string(), v.minLength(16, "at least 16 characters"))),
    "a bearer token that may do everything over TCP, beside those that mayfly token create makes",
  ),
  oidc: option(
    "json",
    v.optional(OidcSchema),
    'issuer of JWTs that are taken as tokens: {"issuer": "https://…", "audience": "mayfly", "grants": ' +
      '[{"claim": "groups", "value": "ops", "scopes": ["admin"], "namespace": "*"}]}; default: none',
  ),
  allowedHosts: option(
    "list",
    v.optional(v.array(v.pipe(v.string(), v.toLowerCase())), []),
    "names that requests over TCP may carry as Host, beside loopback and the listening address",
  ),
  accessLog: option(
    "text",
    v.optional(
      v.union([v.literal("-"), v.pipe(v.string(), v.startsWith("/"), v.maxLength(4096))], "an absolute path, or -"),
    ),
    "file for a JSON line of each request, - for standard output; default: none",
  ),
  trustedProxies: option(
    "list",
    v.optional(
      v.array(v.union([v.pipe(v.string(), v.ip()), network, v.literal("unix")], proxyForm)),
      [],
    ),
    "addresses, networks (10.0.0.0/8) or unix, from where X-Forwarded-For is believed; default: nobody",
  ),
  registryListen: option(
    "text",
    v.optional(v.union([address, v.literal("off")]), "off"),
    "TCP address that serves images as a registry (/v2/), to who has a token; default: off",
  ),
  registryTokens: option(
    "secrets",
    v.optional(
      v.pipe(
        v.record(NameSchema, v.pipe(v.string(), v.minLength(16, "tokens of at least 16 characters"))),
        v.check((tokens) => Object.keys(tokens).length > 0, "a token at least"),
      ),
    ),
    'who may push and pull, beside tokens that mayfly makes: one of each namespace, as {"default": "…"}; to log in, the namespace is the user',
  ),
  registryNames: option(
    "list",
    v.optional(
      v.array(
        v.pipe(v.string(), v.toLowerCase(), v.regex(/^[a-z0-9.-]+(?::\d{1,5})?$/, "a name, as example.com:5000")),
      ),
      [],
    ),
    "by what names clients know the registry, beside loopback and the address it listens on: example.com, example.com:5000",
  ),
  runtime: option("text", v.optional(v.string(), "native"), "the runtime of functions that name none"),
  snapshotter: option(
    "text",
    v.optional(v.string()),
    "the snapshotter of functions that name none; default: overlay where the kernel has it, else native",
  ),
  queue: option(
    "text",
    v.optional(v.string(), "libsql"),
    "what keeps asynchronous calls until they run: a queue plugin",
  ),
  database: option(
    "text",
    v.optional(v.pipe(v.string(), v.regex(/^(?:file|libsql|https?|wss?):/, "a libSQL URL"))),
    "libSQL URL for definitions (images, functions); default: the file in root",
  ),
  databaseToken: option("secret", v.optional(v.string()), "auth token for the database"),
  secretKey: option(
    "secret",
    v.optional(v.pipe(v.string(), v.regex(/^[0-9a-fA-F]{64}$/, "64 hexadecimal digits, as of: openssl rand -hex 32"))),
    "key that secrets are sealed with; default: the file secret.key in root, made with the first one",
  ),
  plainHttp: option(
    "list",
    v.optional(v.array(v.string()), []),
    "registries spoken to over http; loopback ones always are",
  ),
  maxConcurrency: option(
    "number",
    v.optional(count(1, 100_000), 256),
    "invocations that may run at once over all functions; one more gets 429",
  ),
  namespaceConcurrency: option(
    "json",
    v.optional(v.record(v.union([NameSchema, v.literal("*")]), count(0, 100_000)), {}),
    'invocations that may run at once in a namespace; "*" is each of the others: {"team": 10, "*": 50}; default: maxConcurrency',
  ),
  maxCalls: option("number", v.optional(count(0, 1e7), 10_000), "asynchronous calls that may wait; one more gets 429"),
  maxCallBytes: option(
    "number",
    v.optional(count(0, 64 * 1024 * 1024), 256 * 1024),
    "the most that an asynchronous call's body, or its answer, may have",
  ),
  callConcurrency: option("number", v.optional(count(1, 10_000), 16), "asynchronous calls that run at once"),
  callRetryMs: option(
    "number",
    v.optional(count(1, 3600_000), 1000),
    "milliseconds before an asynchronous call's second attempt, doubled for each after it",
  ),
  callbackHosts: option(
    "list",
    v.optional(
      v.array(
        v.pipe(
          v.string(),
          v.toLowerCase(),
          v.regex(
            /^(?:\*|(?:\*\.)?(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?)$/,
            "a host, as *.example.com:8443, or *",
          ),
        ),
      ),
      [],
    ),
    "whom X-Callback-Url of asynchronous calls may name: example.com, example.com:8443, *.example.com, *; default: nobody",
  ),
  keepCalls: option("number", v.optional(count(0, 1e8), 10_000), "asynchronous calls that have ended and are kept"),
  maxPrepared: option(
    "number",
    v.optional(count(0, 100_000), 1000),
    "containers that may wait for requests over all functions; each takes about half a megabyte of the kernel's memory",
  ),
  keepRevisions: option(
    "number",
    v.optional(count(1, 10_000), defaultKeptRevisions),
    "revisions of a function that are kept, beside those that have traffic or a tag",
  ),
  maxResting: option(
    "number",
    v.optional(count(0, 1e6), 1000),
    "functions that stay made while nobody calls them: each takes some 30 KB; the next request makes one again",
  ),
  keepInvocations: option("number", v.optional(count(0, 1e9), 100_000), "records of ended invocations that are kept"),
  keepVersions: option(
    "number",
    v.optional(count(0, 1e6)),
    "the newest so many images of each repository are kept though nothing uses them; default: all",
  ),
  foreignCheckpoints: option(
    "boolean",
    v.optional(v.boolean(), false),
    "also restore checkpoints that were not written here: CRIU does as root whatever they say",
  ),
  verify: option(
    "json",
    v.optional(v.pipe(v.array(ImageRuleSchema), v.maxLength(1000)), []),
    'which images may be pulled, the first rule that fits: [{"images": "ghcr.io/acme", "policy": "require", "keys": ["/…"]}]; ' +
      "policies: accept, reject, require; default: all may",
  ),
  verifierPrograms: option(
    "text",
    v.optional(path),
    "folder of programs that each have to accept an image before it is pulled, as containerd runs them",
  ),
  keepDays: option(
    "number",
    v.optional(count(0, 36_500)),
    "images that nothing uses are kept for so many days; default: for ever",
  ),
  highPercent: option(
    "number",
    v.optional(count(1, 100)),
    "from so many percent of the disk in use on, unused images go, the oldest first; default: never",
  ),
  lowPercent: option("number", v.optional(count(0, 100)), "... until no more than so many are; default: highPercent"),
  drainMs: option(
    "number",
    v.optional(count(0, 24 * 3600_000), 60_000),
    "milliseconds that SIGTERM waits for running invocations",
  ),
  logLevel: option(
    "text",
    v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
    "least level that is logged",
  ),
  pluginModules: option(
    "list",
    v.optional(
      v.array(
        v.pipe(
          v.string(),
          v.regex(
            /^(?:\/|(?:@[a-z0-9~][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*(?:\/|$))/,
            "an absolute path or a package",
          ),
        ),
      ),
      [],
    ),
    "modules that export more plugins: absolute paths, or packages that are installed beside mayfly; their code runs as root",
  ),
  sources: option(
    "json",
    v.optional(SourcesSchema, {}),
    "of which image `mayfly deploy` makes functions of source files, and their command, by the end of their names: " +
      '{".rb": {"image": "ruby:slim", "command": ["ruby", "{file}"]}}; known without it: .js .mjs .cjs .ts .mts .py .sh, ' +
      "and executable for other files that are",
  ),
  plugins: option(
    "json",
    v.optional(v.record(v.string(), v.record(v.string(), v.unknown())), {}),
    'settings of plugins by "kind/id"',
  ),
} as const;

type Options = typeof options;
type OptionName = keyof Options;

const names = Object.keys(options) as OptionName[];

export const ConfigSchema = v.strictObject(
  Object.fromEntries(names.map((name) => [name, options[name].schema])) as {
    [Name in OptionName]: Options[Name]["schema"];
  },
);
export type Config = v.InferOutput<typeof ConfigSchema>;

/** `maxConcurrency` → `max-concurrency`, the option's name on the command line. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `maxConcurrency` → `MAYFLY_MAX_CONCURRENCY`. */
export function environmentOf(name: string): string {
  return `MAYFLY_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;
}

function parseText(form: Form, text: string, where: string): unknown {
  switch (form) {
    case "text":
    case "secret":
      return text;
    case "number": {
      const value = Number(text);
      if (text.trim() === "" || Number.isNaN(value)) throw wrong(where, `is ${JSON.stringify(text)}, wanted a number`);
      return value;
    }
    case "boolean":
      if (["true", "1", "yes", "on"].includes(text)) return true;
      if (["false", "0", "no", "off"].includes(text)) return false;
      throw wrong(where, `is ${JSON.stringify(text)}, wanted true or false`);
    case "list":
      return text.split(",").map((item) => item.trim()).filter((item) => item !== "");
    case "json":
    case "secrets":
      try {
        return JSON.parse(text);
      } catch (cause) {
        // What the parser says quotes the text.
        throw wrong(where, form === "secrets" ? "is no JSON" : `is no JSON: ${messageOf(cause)}`);
      }
  }
}

function wrong(where: string, what: string): Failure {
  return new Failure("invalid_argument", `cannot read the configuration: ${where} ${what}`);
}

export interface ConfigSources {
  /** In place of options' own defaults. */
  readonly defaults?: { readonly root: string; readonly run: string } | undefined;
  /** What a program says, by the options' names. */
  readonly values?: Readonly<Record<string, unknown>> | undefined;
  /** The configuration file's name and text. */
  readonly file?: { readonly name: string; readonly text: string } | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Flags by their dashed names, as they were given. */
  readonly flags?: Readonly<Record<string, string | boolean | undefined>>;
}

/** Merges file, environment and flags into one configuration. @throws invalid_argument naming source, option and cure. */
export function readConfig(sources: ConfigSources = {}): Config {
  const merged: Record<string, unknown> = { ...sources.defaults };
  const origin = new Map<string, string>();
  const take = (values: object, source: string) => {
    for (const [key, entry] of Object.entries(values)) {
      if (!Object.hasOwn(options, key)) {
        throw wrong(source, `has an unknown key ${JSON.stringify(key)}: known are ${names.join(", ")}`);
      }
      merged[key] = entry;
      origin.set(key, `${JSON.stringify(key)} in ${source}`);
    }
  };
  if (sources.file !== undefined) {
    const { name, text } = sources.file;
    const value = parseText("json", text, name);
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(name, "is no JSON object");
    take(value, name);
  }
  if (sources.values !== undefined) take(sources.values, "the program's options");
  for (const name of names) {
    const variable = environmentOf(name);
    const fromEnvironment = sources.env?.[variable];
    if (fromEnvironment !== undefined && fromEnvironment !== "") {
      merged[name] = parseText(options[name].form, fromEnvironment, variable);
      origin.set(name, variable);
    }
    const flag = flagOf(name);
    const fromFlag = sources.flags?.[flag];
    if (fromFlag !== undefined) {
      if (isSecret(name)) {
        throw wrong(`--${flag}`, `would be seen by every user of the machine: set ${variable}, or ${name} in the file`);
      }
      merged[name] = typeof fromFlag === "boolean" ? fromFlag : parseText(options[name].form, fromFlag, `--${flag}`);
      origin.set(name, `--${flag}`);
    }
  }
  const result = v.safeParse(ConfigSchema, merged, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const key = String(issue.path?.[0]?.key ?? "");
    const secret = key in options && isSecret(key as OptionName);
    const is = secret ? "" : `is ${JSON.stringify(merged[key])}, `;
    throw wrong(origin.get(key) ?? key, `${is}wanted ${issue.message}`);
  }
  const { tlsCert, tlsKey } = result.output;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [is, wanted] = tlsCert === undefined ? ["tlsKey", "tlsCert"] as const : ["tlsCert", "tlsKey"] as const;
    throw wrong(is, `is of no use alone: set ${environmentOf(wanted)} or --${flagOf(wanted)}, too`);
  }
  return result.output;
}

/** Whether an option has no place on the command line. */
export function isSecret(name: OptionName): boolean {
  return options[name].form === "secret" || options[name].form === "secrets";
}
