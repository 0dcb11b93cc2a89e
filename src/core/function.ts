import * as v from "valibot";
import { ContainerMountsSchema } from "./container_mount.ts";
import { HostnameSchema, networkEntries } from "./network.ts";
import { RateSchema } from "./rate.ts";
import type { Traffic } from "./revision.ts";
import { SecretNamesSchema } from "./secret_store.ts";

/** Names of functions and of namespaces: a DNS label, so that each can become a host name. */
export const NameSchema = v.pipe(
  v.string(),
  v.regex(
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
    "1 to 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit",
  ),
);

/** From where a page may be. */
export const OriginSchema = v.pipe(
  v.string(),
  v.maxLength(512),
  v.regex(
    /^(?:\*|https?:\/\/(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?)$/,
    "an origin as a browser sends it, as https://app.example or http://localhost:3000, or *",
  ),
);
const count = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));
const noNul = v.check((text: string) => !text.includes("\0"), "text without NUL bytes");
const MiB = 1024 * 1024;

/** A function of the same namespace, and perhaps a revision of it, by a tag or its number. */
const DestinationSchema = v.pipe(
  v.string(),
  v.regex(
    /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:@[a-z0-9-]{1,80})?$/,
    "the name of a function of its namespace, or name@revision",
  ),
);

const ScheduleSchema = v.strictObject({
  /** Five fields of cron, or six with seconds before them. */
  cron: v.pipe(v.string(), v.minLength(1), v.maxLength(256)),
  /** As `Europe/Berlin`. Default UTC. */
  timeZone: v.optional(v.pipe(v.string(), v.maxLength(64)), "UTC"),
  /** What it is sent. */
  body: v.optional(v.pipe(v.string(), v.maxLength(64 * 1024)), ""),
  /** What becomes of a call while the one before it has not ended. Default `skip`. */
  overlap: v.optional(v.picklist(["skip", "queue"]), "skip"),
  /**
   * What becomes of runs that fall into a time without a daemon, or which the clock has jumped over. `skip`: nothing. `once`: the
   * latest is made up for. `all`: each of them, the newest 100 at the most; wants overlap `queue`. Default `skip`.
   */
  missed: v.optional(v.picklist(["skip", "once", "all"]), "skip"),
  /** How late a missed run is still made up for. Default a day. */
  missedWithinMs: v.optional(count(1000, 366 * 24 * 3600_000), 24 * 3600_000),
});

/** What a caller says of a function (`PUT /v1/functions/{name}`). Every field but `image` has a default. */
export const FunctionInputSchema = v.strictObject({
  /** An image that is there, or a reference that is pulled first. */
  image: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  /** Whether it is deployed again as soon as the image's name points at something else. Default false. */
  follow: v.optional(v.boolean(), false),
  /** In place of the image's Entrypoint and Cmd. */
  command: v.optional(v.pipe(v.array(v.pipe(v.string(), noNul)), v.minLength(1), v.maxLength(1024))),
  /** In place of the image's Cmd, behind its Entrypoint. */
  args: v.optional(v.pipe(v.array(v.pipe(v.string(), noNul)), v.maxLength(1024))),
  env: v.optional(
    v.record(
      v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/)),
      v.pipe(v.string(), noNul, v.maxLength(128 * 1024)),
    ),
    {},
  ),
  /** `uid`, `uid:gid`, `user` or `user:group` as the image's passwd and group files know them. */
  user: v.optional(v.pipe(v.string(), v.maxLength(256))),
  workdir: v.optional(v.pipe(v.string(), v.startsWith("/"), v.maxLength(4096), noNul)),
  /** Limit of the container's memory, its scratch layer and page cache included. Default 256 MiB. */
  memoryBytes: v.optional(count(4 * MiB, 2 ** 50), 256 * MiB),
  /** How many processors' time it may use; 0.5 is half of one. Default 1. */
  cpus: v.optional(v.pipe(v.number(), v.minValue(0.01), v.maxValue(4096)), 1),
  /** How many processes and threads it may have. Default 512. */
  pids: v.optional(count(1, 4_194_304), 512),
  /** Time from the start of its process to its end. Default 60 s. */
  timeoutMs: v.optional(count(1, 24 * 3600_000), 60_000),
  /** `token`: its callers need a token of scope `invoke`. `none`: whoever reaches it may call it. Default `none`. */
  auth: v.optional(v.picklist(["none", "token"]), "none"),
  /** How often it may be called, as `100/s`, `600/m` or `1000/h`; more is answered with 429. Default: as often as may be. */
  rate: v.optional(RateSchema),
  /** Origins of pages that may call it, as `https://app.example`, or `*` for all. Default: pages of the daemon's own names. */
  corsOrigins: v.optional(v.pipe(v.array(OriginSchema), v.maxLength(64)), []),
  /**
   * `stdio`: each request gets a fresh container, which reads the body on stdin and writes the answer to stdout. `http`: its
   * containers serve HTTP on `port`, and live on. `lambda`: they ask for events at AWS Lambda's Runtime API, one at a time.
   * `fn`: they serve Fn's calls on a Unix socket, one at a time. Default `stdio`.
   */
  protocol: v.optional(v.picklist(["stdio", "http", "lambda", "fn"]), "stdio"),
  /** With `lambda`: whether a container takes one event after the other. Default false: each gets a fresh one. */
  reuse: v.optional(v.boolean(), false),
  /** Where it serves HTTP, in its own network namespace; PORT in its environment. Default 8080. */
  port: v.optional(count(1, 65_535), 8080),
  /** It is ready when GET of this path is answered with 200 to 399. Default: when the port accepts a connection. */
  readyPath: v.optional(v.pipe(v.string(), v.maxLength(1024), v.regex(/^\/[\x21-\x7e]*$/))),
  /** How long a container that serves many requests may take until it is ready. Default 30 s. */
  startTimeoutMs: v.optional(count(1, 3600_000), 30_000),
  /** How many of its containers are kept ready, where they serve many requests. Default 0. */
  minInstances: v.optional(count(0, 1000), 0),
  /** The most containers of it that serve many requests; what they cannot take waits in line. Default 4. */
  maxInstances: v.optional(count(1, 1000), 4),
  /** How long such a container lives without a request, and prepared ones beyond `prepared`. Default 60 s. */
  idleMs: v.optional(count(0, 24 * 3600_000), 60_000),
  /** Whether such a container is frozen while no request is there for it, and thawed by the next one. Default true. */
  freeze: v.optional(v.boolean(), true),
  /** How long it has from SIGTERM to SIGKILL. Default 10 s. */
  stopGraceMs: v.optional(count(0, 3600_000), 10_000),
  /**
   * How many invocations may run at once; one more is answered with 429. Where a container serves many requests: how many
   * each of them takes at once. Default 64.
   */
  concurrency: v.optional(count(1, 100_000), 64),
  /** How many of the places that all functions share are kept for its invocations, whether it has any or not. Default 0. */
  reservedConcurrency: v.optional(count(0, 100_000), 0),
  /** Limit of a request's body. Default 64 MiB; 0 is no limit. */
  maxBodyBytes: v.optional(count(0, 2 ** 50), 64 * MiB),
  /**
   * How long it waits for its caller over all of a body, and for 1 KiB of it one second more. What the container itself
   * takes does not count. Default 30 s; 0 is no limit.
   */
  bodyTimeoutMs: v.optional(count(0, 24 * 3600_000), 30_000),
  /** Limit of what it may write to its root filesystem, in memory. Default 64 MiB. */
  scratchBytes: v.optional(count(0, 2 ** 40), 64 * MiB),
  readonlyRootfs: v.optional(v.boolean(), false),
  /** Files and folders of the daemon's machine, filesystems in memory, and images, beside what every container has. */
  mounts: v.optional(ContainerMountsSchema, []),
  /** Secrets of its namespace, each a file of its name in `/run/secrets` and in `/var/openfaas/secrets`. */
  secrets: v.optional(SecretNamesSchema, []),
  /** How it is connected. `none`: an own network namespace with loopback. `host`: the machine's network. */
  ...networkEntries,
  /** Default: the end of its id. */
  hostname: v.optional(HostnameSchema),
  /** `auto`: its users are ids of the host that no other namespace has, and root is nobody there. */
  userns: v.optional(v.picklist(["host", "auto"]), "host"),
  /** How often an asynchronous call is tried. Default 3. */
  asyncAttempts: v.optional(count(1, 100), 3),
  /** How long after it was accepted an asynchronous call is tried again. Default 6 h. */
  asyncMaxAgeMs: v.optional(count(0, 30 * 24 * 3600_000), 6 * 3600_000),
  /**
   * The function of its namespace that is told of its asynchronous calls that have succeeded: `name`, or `name@revision`. Its
   * body is a record as AWS Lambda's destinations get it. Default: none.
   */
  asyncOnSuccess: v.optional(DestinationSchema),
  /** The one that is told of those that have failed. */
  asyncOnFailure: v.optional(DestinationSchema),
  /** When it is called by the clock, as an asynchronous call. */
  schedules: v.optional(v.pipe(v.array(ScheduleSchema), v.maxLength(16)), []),
  /** How many containers of it wait for a request, each for one. Default 0: each request makes its own. */
  prepared: v.optional(count(0, 1000), 0),
  /**
   * The most that do: as many as the largest burst of requests has taken, until none is taken for `idleMs`. Default
   * `prepared`.
   */
  preparedMax: v.optional(count(0, 1000)),
  /** Whether it goes on from the checkpoint that the image is, instead of starting the image's command. Default false. */
  restore: v.optional(v.boolean(), false),
  /** Plugin ids; by default the daemon's. */
  runtime: v.optional(v.pipe(v.string(), v.maxLength(64))),
  snapshotter: v.optional(v.pipe(v.string(), v.maxLength(64))),
  /**
   * What its output is. `body`: the answer's body. `cgi`: header fields first, `Status` among them, and an empty line.
   * Default `body`.
   */
  answer: v.optional(v.picklist(["body", "cgi"]), "body"),
  /** The Content-Type of its answers, where they have none of their own. */
  contentType: v.optional(v.pipe(v.string(), v.maxLength(256), v.regex(/^[\x20-\x7e]+$/)), "application/octet-stream"),
  /** What it is found by, and its tasks and events. */
  labels: v.optional(v.record(v.pipe(v.string(), v.maxLength(256)), v.pipe(v.string(), v.maxLength(4096))), {}),
  /** What others want to know of it; `lastingAnnotations` of the revision before are kept where they are not among them. */
  annotations: v.optional(
    v.pipe(
      v.record(v.pipe(v.string(), v.maxLength(256)), v.pipe(v.string(), v.maxLength(64 * 1024))),
      v.maxEntries(256),
    ),
    {},
  ),
});
/** The URLs of a function, as AWS Lambda has them. */
export const functionUrlsAnnotation = "aws.lambda/function-urls";
/** What is a function's for as long as it is there, whoever deploys it: no other settings say it. */
export const lastingAnnotations = [functionUrlsAnnotation] as const;

/** As a caller writes it. */
export type FunctionInput = v.InferInput<typeof FunctionInputSchema>;
/** As it is kept, with every default filled in. */
export type FunctionSettings = v.InferOutput<typeof FunctionInputSchema>;

/** The settings of a record, without what else is in it; what an older program wrote may lack a field that has a default now. */
export const SettingsSchema = v.object(FunctionInputSchema.entries);

/** One revision of a function: what a deployment has made, never changed afterwards. */
export interface FunctionRecord extends FunctionSettings {
  readonly namespace: string;
  readonly name: string;
  /** The manifest that its image named when it was deployed; invocations use this one. */
  readonly digest: string;
  /** Counts deployments of this name, from 1. */
  readonly revision: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** A revision that is kept. */
export interface KeptRevision extends FunctionRecord {
  /** Whether it has, or ever had, a share of the traffic. */
  readonly answered: boolean;
}

/** A function: its newest revision, and which ones answer. `createdAt` is that of the first. */
export interface DeployedFunction extends FunctionRecord {
  readonly traffic: Traffic;
}

/** Where functions and their revisions are recorded. */
export interface FunctionStore {
  get(namespace: string, name: string): Promise<DeployedFunction | undefined>;
  list(namespace: string): Promise<readonly DeployedFunction[]>;
  /** Every namespace's functions, some at a time: what is added or removed meanwhile may be among them. */
  all(): AsyncIterable<DeployedFunction>;
  /**
   * Creates it with revision 1, or adds the next; forgets old revisions as `setTraffic`.
   * @param options.traffic in place of what is there; for a new function, default all to the newest.
   */
  put(
    record: Omit<FunctionRecord, "revision" | "createdAt" | "updatedAt">,
    options?: { readonly traffic?: Traffic | undefined; readonly keep?: number | undefined },
  ): Promise<DeployedFunction>;
  /** Removes it with its revisions. @returns whether it was there. */
  delete(namespace: string, name: string): Promise<boolean>;
  /** @returns undefined where it is not kept. */
  revision(namespace: string, name: string, revision: number): Promise<FunctionRecord | undefined>;
  /** Those that are kept, the newest first. */
  revisions(namespace: string, name: string): Promise<readonly KeptRevision[]>;
  /**
   * Says who answers. Revisions are forgotten that are not among the newest `keep`, and have neither traffic nor a tag.
   * @param options.keep default 10.
   * @returns undefined where it is not there.
   */
  setTraffic(
    namespace: string,
    name: string,
    traffic: Traffic,
    options?: { readonly keep?: number | undefined },
  ): Promise<DeployedFunction | undefined>;
  /** The images of all revisions of all functions, and those that are mounted into their containers, for garbage collection. */
  images(): Promise<readonly { readonly namespace: string; readonly image: string; readonly digest: string }[]>;
}

/** How many revisions of a function are kept, beside those that answer. */
export const defaultKeptRevisions = 10;
