import * as v from "valibot";
import type { Distribution } from "../core/distribution.ts";
import type { Plugin } from "../core/plugin.ts";
import { CredentialHelpers } from "./credential_helper.ts";
import { dockerConfigPath, dockerCredentials } from "./credentials.ts";
import { HostsFolder } from "./hosts.ts";
import { Registry } from "./registry.ts";

const milliseconds = (fallback: number) =>
  v.optional(v.pipe(v.number(), v.minValue(1), v.maxValue(3600_000)), fallback);

const Config = v.strictObject({
  /** Registries spoken to over http, by host or host:port. Those on this machine always are. */
  plainHttp: v.optional(v.array(v.pipe(v.string(), v.toLowerCase())), []),
  /** Docker's configuration file, for credentials. Default: config.json in $DOCKER_CONFIG or ~/.docker. */
  dockerConfig: v.optional(v.string()),
  /** The folder of hosts.toml files, as containerd reads it. Default: /etc/mayfly/certs.d. */
  hosts: v.optional(v.string(), "/etc/mayfly/certs.d"),
  /** How long an answer's head may take. Default 30 s. */
  headerTimeoutMs: milliseconds(30_000),
  /** How long a body may pause. Default 30 s. */
  stallTimeoutMs: milliseconds(30_000),
  /** How often a request is tried. Default 4. */
  attempts: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(20)), 4),
  /** Wait before the second try, doubled for each after it. Default 250 ms. */
  retryBaseMs: milliseconds(250),
  /** How many blobs are fetched from one host at once, over all pulls. Default 6. */
  concurrency: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(100))),
  /** How much of a blob is pushed in one request, in bytes. Default 8 MiB. */
  chunkBytes: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1 << 20), v.maxValue(64 << 20))),
});

/** The client of container registries. */
export const distribution: Plugin<Distribution, typeof Config> = {
  kind: "distribution",
  id: "registry",
  contract: 1,
  config: Config,
  create({ config, host }) {
    const path = config.dockerConfig ?? dockerConfigPath(host.env);
    const helpers = new CredentialHelpers(host);
    return new Registry({
      hosts: new HostsFolder(config.hosts),
      plainHttp: config.plainHttp,
      credentials: (reference) => dockerCredentials(path, reference, helpers.ask.bind(helpers)),
      headerTimeoutMs: config.headerTimeoutMs,
      stallTimeoutMs: config.stallTimeoutMs,
      ...(config.concurrency === undefined ? {} : { concurrency: config.concurrency }),
      ...(config.chunkBytes === undefined ? {} : { chunkBytes: config.chunkBytes }),
      retry: { attempts: config.attempts, baseMs: config.retryBaseMs, maxMs: 10_000 },
    });
  },
};
