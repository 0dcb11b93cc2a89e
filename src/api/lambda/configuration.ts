import * as v from "valibot";
import { Failure } from "../../core/errors.ts";
import type { FunctionInput, FunctionRecord } from "../../core/function.ts";
import { parse } from "../../core/parse.ts";
import { parseReference } from "../../core/reference.ts";
import { arnOf, latestVersion } from "./target.ts";

/** What AWS Lambda keeps of a function and Mayfly has no setting for: kept as labels, so that clients find it again. */
const descriptionLabel = "aws.lambda/description";
const roleLabel = "aws.lambda/role";
export const ownLabels: ReadonlySet<string> = new Set([descriptionLabel, roleLabel]);

const MiB = 1024 * 1024;
const whole = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));
const words = v.pipe(v.array(v.pipe(v.string(), v.maxLength(128 * 1024))), v.maxLength(1500));

/** A setting that may say nothing: there is no such thing here, and a client that asks for it is told so. */
const absent = v.optional(
  v.pipe(v.unknown(), v.check((value) => asksNothing(value), "nothing, since Mayfly has no such thing")),
);

function asksNothing(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return true;
  return typeof value === "object" && Object.values(value).every((each) => asksNothing(each));
}

const architectures = v.optional(v.pipe(v.array(v.picklist(["x86_64", "arm64"])), v.length(1)));

/** What `UpdateFunctionConfiguration` takes, and `CreateFunction` too. */
const settings = {
  Description: v.optional(v.pipe(v.string(), v.maxLength(256))),
  /** Seconds. */
  Timeout: v.optional(whole(1, 900)),
  /** MB. */
  MemorySize: v.optional(whole(4, 1024 * 1024)),
  Environment: v.optional(v.strictObject({ Variables: v.optional(v.record(v.string(), v.string())) })),
  /** MB. */
  EphemeralStorage: v.optional(v.strictObject({ Size: whole(1, 1024 * 1024) })),
  ImageConfig: v.optional(v.strictObject({
    EntryPoint: v.optional(words),
    Command: v.optional(words),
    WorkingDirectory: v.optional(v.pipe(v.string(), v.maxLength(1000))),
  })),
  Role: v.optional(v.pipe(v.string(), v.maxLength(2048))),
  // Requests are traced and logged as the daemon says.
  TracingConfig: v.optional(v.looseObject({})),
  LoggingConfig: v.optional(v.looseObject({})),
  VpcConfig: absent,
  DeadLetterConfig: absent,
  KMSKeyArn: absent,
  FileSystemConfigs: absent,
  Layers: absent,
  Handler: absent,
  Runtime: absent,
  SnapStart: v.optional(v.strictObject({ ApplyOn: v.optional(v.literal("None")) })),
};
type Settings = v.InferOutput<v.StrictObjectSchema<typeof settings, undefined>>;

const ImageUri = v.pipe(v.string(), v.minLength(1), v.maxLength(512));

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html */
export const CreateSchema = v.strictObject({
  PackageType: v.literal("Image", "Image: functions are container images here"),
  ...settings,
  FunctionName: v.pipe(v.string(), v.maxLength(256)),
  Code: v.strictObject({ ImageUri, SourceKMSKeyArn: absent }),
  Architectures: architectures,
  Publish: v.optional(v.boolean()),
  Tags: v.optional(v.record(v.pipe(v.string(), v.maxLength(128)), v.pipe(v.string(), v.maxLength(256)))),
  CodeSigningConfigArn: absent,
});

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionCode.html */
export const UpdateCodeSchema = v.strictObject({
  ImageUri,
  Architectures: architectures,
  Publish: v.optional(v.boolean()),
  DryRun: v.optional(v.boolean()),
  RevisionId: v.optional(v.string()),
  SourceKMSKeyArn: absent,
});

/** @see https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html */
export const UpdateConfigurationSchema = v.strictObject({ ...settings, RevisionId: v.optional(v.string()) });

/** What AWS Lambda gives a function whose creator does not say. */
const createDefaults = { Timeout: 3, MemorySize: 128 } as const;
/** As many as other functions have at once. */
export const maxInstances = 64;

/** Tags that say what no setting of AWS Lambda does. */
const TagsSchema = v.object({
  "mayfly.protocol": v.optional(v.picklist(["lambda", "stdio", "http"]), "lambda"),
  "mayfly.reuse": v.optional(v.picklist(["true", "false"]), "false"),
});

/** A new function's settings: its image is one of AWS Lambda's, unless a tag says otherwise. */
export function createInput(asked: v.InferOutput<typeof CreateSchema>): FunctionInput {
  const { Tags = {} } = asked;
  const tags = parse(TagsSchema, Tags, "cannot create the function: tags");
  return withSettings({
    image: asked.Code.ImageUri,
    labels: Tags,
    protocol: tags["mayfly.protocol"],
    ...(tags["mayfly.reuse"] === "true" && { reuse: true }),
    ...(tags["mayfly.protocol"] === "lambda" && { maxInstances }),
  }, { ...createDefaults, ...defined(asked) });
}

/** A function's settings, changed by what was asked; what was not is as it was. */
export function withSettings(before: FunctionInput, asked: Settings): FunctionInput {
  const { Timeout, MemorySize, Environment, EphemeralStorage, ImageConfig, Description, Role } = asked;
  const { command, args, workdir, ...rest } = before;
  const words = ImageConfig === undefined ? { command, args, workdir } : wordsOf(ImageConfig);
  return {
    ...rest,
    ...defined(words),
    ...(Timeout !== undefined && { timeoutMs: Timeout * 1000 }),
    ...(MemorySize !== undefined && { memoryBytes: MemorySize * MiB }),
    ...(Environment !== undefined && { env: Environment.Variables ?? {} }),
    ...(EphemeralStorage !== undefined && { scratchBytes: EphemeralStorage.Size * MiB }),
    labels: {
      ...before.labels,
      ...(Description !== undefined && { [descriptionLabel]: Description }),
      ...(Role !== undefined && { [roleLabel]: Role }),
    },
  };
}

/** @throws invalid_argument for an entry point alone: the image's own command is not given to another program here. */
function wordsOf(config: NonNullable<Settings["ImageConfig"]>) {
  const { EntryPoint = [], Command = [], WorkingDirectory = "" } = config;
  if (EntryPoint.length > 0 && Command.length === 0) {
    throw new Failure(
      "invalid_argument",
      'cannot take "ImageConfig": "EntryPoint" without "Command": give both, since what the image says is for its own',
      { details: { field: "ImageConfig" } },
    );
  }
  return {
    command: EntryPoint.length > 0 ? EntryPoint : undefined,
    args: Command.length > 0 ? Command : undefined,
    workdir: WorkingDirectory === "" ? undefined : WorkingDirectory,
  };
}

function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Changes with every update. */
export function revisionId(record: FunctionRecord): string {
  return `${record.revision}-${record.createdAt.getTime()}`;
}

/** As AWS Lambda has it of an image: its digest. */
export function codeSha256({ digest }: FunctionRecord): string {
  return digest.replace(/^sha256:/, "");
}

/**
 * @param options.qualifier what it was asked for by; undefined for the newest. @param options.description in place of its own.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_FunctionConfiguration.html
 */
export function configurationOf(
  record: FunctionRecord,
  headers: Headers,
  arch: "x64" | "arm64",
  { qualifier, description }: { readonly qualifier?: string | undefined; readonly description?: string | undefined } =
    {},
) {
  const { command, args, workdir, labels } = record;
  const imageConfig = defined({ EntryPoint: command, Command: args, WorkingDirectory: workdir });
  return {
    FunctionName: record.namespace === "default" ? record.name : `${record.name}.${record.namespace}`,
    FunctionArn: arnOf(record, headers, qualifier),
    Role: labels[roleLabel] ?? "",
    CodeSize: 0,
    Description: description || (labels[descriptionLabel] ?? ""),
    Timeout: Math.ceil(record.timeoutMs / 1000),
    MemorySize: Math.ceil(record.memoryBytes / MiB),
    LastModified: record.updatedAt.toISOString().replace("Z", "+0000"),
    CodeSha256: codeSha256(record),
    Version: qualifier === undefined ? latestVersion : String(record.revision),
    ...(Object.keys(record.env).length > 0 && { Environment: { Variables: record.env } }),
    RevisionId: revisionId(record),
    State: "Active",
    LastUpdateStatus: "Successful",
    PackageType: "Image",
    ...(Object.keys(imageConfig).length > 0 && { ImageConfigResponse: { ImageConfig: imageConfig } }),
    Architectures: [architectureOf(arch)],
    EphemeralStorage: { Size: Math.ceil(record.scratchBytes / MiB) },
  };
}

export function architectureOf(arch: "x64" | "arm64"): "x86_64" | "arm64" {
  return arch === "arm64" ? "arm64" : "x86_64";
}

/** Where the image of a function is from, and which one it is. */
export function codeOf(record: FunctionRecord) {
  const { registry, repository } = parseReference(record.image);
  return {
    RepositoryType: "ECR",
    ImageUri: record.image,
    ResolvedImageUri: `${registry}/${repository}@${record.digest}`,
  };
}

/** Its labels that are not kept for AWS Lambda's own sake. */
export function tagsOf(record: FunctionRecord): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record.labels).filter(([name]) => !ownLabels.has(name)));
}
