import * as v from "valibot";
import { type FunctionInput, type FunctionRecord, NameSchema } from "../../core/function.ts";
import { SecretNamesSchema } from "../../core/secret_store.ts";
import { type Watchdog, wordsOf } from "../../functions/watchdog.ts";
import { CpuSchema, goDuration, MemorySchema } from "./quantity.ts";

/** A field that Go's clients write as null where they have nothing. */
const orNull = <Schema extends v.GenericSchema>(schema: Schema) => v.optional(v.nullable(schema));
const texts = v.record(v.string(), v.string());
const ResourcesSchema = v.object({
  memory: v.optional(MemorySchema),
  cpu: v.optional(CpuSchema),
});

export const NamespaceSchema = v.optional(
  v.pipe(v.string(), v.transform((name) => name === "" ? "default" : name), NameSchema),
  "default",
);

/**
 * What a client of OpenFaaS says of a function. Constraints, requests and what is deprecated there say where it is to run:
 * there is one place here, and they are left alone.
 * @see https://github.com/openfaas/faas/blob/master/api-docs/spec.openapi.yml
 */
export const DeploymentSchema = v.object({
  service: NameSchema,
  image: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  namespace: NamespaceSchema,
  envProcess: orNull(v.pipe(v.string(), v.maxLength(128 * 1024))),
  envVars: orNull(texts),
  secrets: orNull(SecretNamesSchema),
  labels: orNull(texts),
  annotations: orNull(texts),
  limits: orNull(ResourcesSchema),
  requests: orNull(v.object({ memory: v.optional(v.string()), cpu: v.optional(v.string()) })),
  constraints: orNull(v.array(v.string())),
  readOnlyRootFilesystem: orNull(v.boolean()),
});
export type Deployment = v.InferOutput<typeof DeploymentSchema>;

/** How annotations are kept among labels. */
const annotationPrefix = "openfaas.annotation/";
/** How many containers are to be ready, and how many there may be. */
const [leastLabel, mostLabel] = ["com.openfaas.scale.min", "com.openfaas.scale.max"];

/**
 * A function's settings. What OpenFaaS's watchdogs take from their environment is a setting here, where there is one.
 * @param watchdog that of the image, where it has one. In front of a server it is run as it is; else what it would run for
 * a request has a container of its own.
 */
export function inputOf(deployment: Deployment, watchdog: Watchdog | undefined): FunctionInput {
  const { image, envProcess, limits } = deployment;
  const serves = watchdog?.mode === "http";
  const env: Readonly<Record<string, string>> = {
    ...deployment.envVars,
    ...(envProcess ? { fprocess: envProcess } : {}),
  };
  const timeoutMs = goDuration(env["exec_timeout"] ?? "");
  const [least, most] = [leastLabel, mostLabel].map((name) => replicasOf(deployment.labels?.[name]));
  return {
    image,
    env,
    secrets: deployment.secrets ?? [],
    labels: {
      ...deployment.labels,
      ...Object.fromEntries(
        Object.entries(deployment.annotations ?? {}).map(([name, value]) => [annotationPrefix + name, value]),
      ),
    },
    ...(envProcess && watchdog === undefined ? { command: wordsOf(envProcess) } : {}),
    ...(serves ? { protocol: "http", port: watchdog.port } : {}),
    ...(timeoutMs ? { timeoutMs } : {}),
    ...(env["content_type"] ? { contentType: env["content_type"] } : {}),
    ...(limits?.memory ? { memoryBytes: limits.memory } : {}),
    ...(limits?.cpu ? { cpus: limits.cpu } : {}),
    ...(deployment.readOnlyRootFilesystem ? { readonlyRootfs: true } : {}),
    ...scaled({ protocol: serves ? "http" : "stdio", maxInstances: most || undefined }, least ?? 0),
  };
}

function replicasOf(label: string | undefined): number | undefined {
  return label !== undefined && /^\d{1,3}$/.test(label) ? Number(label) : undefined;
}

/** The settings that keep so many containers ready. */
export function scaled(
  { protocol, maxInstances }: Pick<FunctionInput, "protocol" | "maxInstances">,
  replicas: number,
): Partial<FunctionInput> {
  if (protocol !== "http") return { prepared: replicas };
  const most = maxInstances === undefined ? {} : { maxInstances };
  return { minInstances: replicas, ...most, ...(replicas > (maxInstances ?? 4) && { maxInstances: replicas }) };
}

/** A function as OpenFaaS shows it. One whose containers are made for each request has one replica: it is there. */
export function statusOf(record: FunctionRecord, invocationCount: number) {
  const { fprocess, ...envVars } = record.env;
  const labels = Object.entries(record.labels);
  const isAnnotation = ([name]: readonly [string, string]) => name.startsWith(annotationPrefix);
  const replicas = Math.max(record.prepared, record.minInstances, 1);
  return {
    name: record.name,
    image: record.image,
    namespace: record.namespace,
    envProcess: fprocess ?? record.command?.join(" ") ?? "",
    envVars,
    constraints: [],
    secrets: record.secrets,
    labels: Object.fromEntries(labels.filter((label) => !isAnnotation(label))),
    annotations: Object.fromEntries(
      labels.filter(isAnnotation).map(([name, value]) => [name.slice(annotationPrefix.length), value]),
    ),
    limits: { memory: String(record.memoryBytes), cpu: String(record.cpus) },
    readOnlyRootFilesystem: record.readonlyRootfs,
    invocationCount,
    replicas,
    availableReplicas: replicas,
    createdAt: record.createdAt,
  };
}
