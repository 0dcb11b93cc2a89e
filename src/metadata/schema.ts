/**
 * The tables, one per noun. This is the declaration that the stores are typed by; `migrations.ts` holds the SQL that makes
 * it, and a test compares the two.
 */
import { sql } from "drizzle-orm";
import {
  type AnySQLiteColumn,
  customType,
  index,
  integer,
  primaryKey,
  real,
  sqliteTable,
  text,
  unique,
  uniqueIndex,
} from "drizzle-orm/sqlite-core";
import * as v from "valibot";
import { scopes } from "../core/access.ts";
import { callbackStatuses } from "../core/callback.ts";
import { CallRequestSchema, callStatuses } from "../core/call.ts";
import { ContainerInputSchema } from "../core/container.ts";
import { DescriptorSchema } from "../core/descriptor.ts";
import { type Digest, DigestSchema } from "../core/digest.ts";
import { SettingsSchema } from "../core/function.ts";
import { invocationStatuses } from "../core/invocation.ts";
import { TrafficSchema } from "../core/revision.ts";
import { json } from "./json_column.ts";

const LabelsSchema = v.record(v.string(), v.string());
const SpecSchema = v.record(v.string(), v.unknown());
const PhasesSchema = v.array(v.object({ name: v.string(), startMs: v.number(), durationMs: v.number() }));
const ContainerSettingsSchema = v.object(ContainerInputSchema.entries);
const JsonDateSchema = v.pipe(v.string(), v.isoTimestamp(), v.transform((text) => new Date(text)));
const StateSchema = v.object({
  startedAt: JsonDateSchema,
  finishedAt: v.optional(JsonDateSchema),
  exitCode: v.optional(v.number()),
  oomKilled: v.optional(v.boolean()),
  error: v.optional(v.string()),
});

/** Bytes, as the driver gives and takes them. */
const bytes = customType<{ data: Uint8Array<ArrayBuffer>; driverData: ArrayBuffer | Uint8Array<ArrayBuffer> }>({
  dataType: () => "blob",
  toDriver: (value) => value,
  fromDriver: (value) => new Uint8Array(value),
});
const time = (name: string) => integer(name, { mode: "timestamp_ms" });

/** Facts about the database itself: its schema's version and its root's id. */
export const meta = sqliteTable("meta", {
  key: text("key").primaryKey(),
  value: text("value").notNull(),
});

export const namespaces = sqliteTable("namespaces", {
  name: text("name").primaryKey(),
  labels: json("labels", LabelsSchema).notNull(),
  createdAt: time("created_at").notNull(),
});

export const images = sqliteTable("images", {
  namespace: text("namespace").notNull().references(() => namespaces.name),
  name: text("name").notNull(),
  target: json("target", DescriptorSchema).notNull(),
  labels: json("labels", LabelsSchema).notNull(),
  createdAt: time("created_at").notNull(),
  updatedAt: time("updated_at").notNull(),
}, (table) => [primaryKey({ columns: [table.namespace, table.name] })]);

export const functions = sqliteTable("functions", {
  namespace: text("namespace").notNull().references(() => namespaces.name),
  name: text("name").notNull(),
  /** The newest. */
  revision: integer("revision").notNull(),
  createdAt: time("created_at").notNull(),
  updatedAt: time("updated_at").notNull(),
  traffic: json("traffic", TrafficSchema).notNull(),
}, (table) => [primaryKey({ columns: [table.namespace, table.name] })]);

/** Values are sealed: see `secret_cipher.ts`. */
export const secrets = sqliteTable("secrets", {
  namespace: text("namespace").notNull().references(() => namespaces.name),
  name: text("name").notNull(),
  sealed: bytes("sealed").notNull(),
  createdAt: time("created_at").notNull(),
  updatedAt: time("updated_at").notNull(),
}, (table) => [primaryKey({ columns: [table.namespace, table.name] })]);

/** What each deployment of a function has made. */
export const revisions = sqliteTable("revisions", {
  namespace: text("namespace").notNull(),
  function: text("function").notNull(),
  revision: integer("revision").notNull(),
  digest: text("digest").notNull(),
  settings: json("settings", SettingsSchema).notNull(),
  createdAt: time("created_at").notNull(),
  /** Whether it has ever had traffic. */
  answered: integer("answered", { mode: "boolean" }).notNull(),
}, (table) => [primaryKey({ columns: [table.namespace, table.function, table.revision] })]);

export const containers = sqliteTable("containers", {
  namespace: text("namespace").notNull(),
  id: text("id").notNull(),
  image: text("image"),
  runtime: text("runtime").notNull(),
  snapshotter: text("snapshotter").notNull(),
  snapshotKey: text("snapshot_key"),
  spec: json("spec", SpecSchema).notNull(),
  labels: json("labels", LabelsSchema).notNull(),
  createdAt: time("created_at").notNull(),
  name: text("name"),
  imageDigest: text("image_digest"),
  settings: json("settings", ContainerSettingsSchema),
  state: json("state", StateSchema),
}, (table) => [
  primaryKey({ columns: [table.namespace, table.id] }),
  uniqueIndex("containers_name").on(table.namespace, table.name),
]);

export const snapshots = sqliteTable("snapshots", {
  /** Never used again: folders are named after it. */
  id: integer("id").primaryKey({ autoIncrement: true }),
  snapshotter: text("snapshotter").notNull(),
  key: text("key").notNull(),
  kind: text("kind", { enum: ["committed", "active", "view"] }).notNull(),
  parentId: integer("parent_id").references((): AnySQLiteColumn => snapshots.id),
  createdAt: time("created_at").notNull(),
  labels: json("labels", LabelsSchema).notNull(),
  updatedAt: time("updated_at").notNull(),
}, (table) => [
  unique("snapshots_key").on(table.snapshotter, table.key),
  index("snapshots_parent").on(table.parentId),
]);

export const leases = sqliteTable("leases", {
  id: text("id").primaryKey(),
  namespace: text("namespace").notNull(),
  expiresAt: time("expires_at").notNull(),
  labels: json("labels", LabelsSchema).notNull(),
});

export const leaseResources = sqliteTable("lease_resources", {
  leaseId: text("lease_id").notNull().references(() => leases.id, { onDelete: "cascade" }),
  resource: text("resource").notNull(),
}, (table) => [primaryKey({ columns: [table.leaseId, table.resource] })]);

export const registryManifests = sqliteTable("registry_manifests", {
  namespace: text("namespace").notNull(),
  repository: text("repository").notNull(),
  digest: text("digest").notNull(),
  mediaType: text("media_type").notNull(),
  size: integer("size").notNull(),
  artifactType: text("artifact_type"),
  subject: text("subject"),
  annotations: json("annotations", LabelsSchema),
  references: json("refs", v.array(DigestSchema)).notNull(),
  usedAt: time("used_at").notNull(),
}, (table) => [
  primaryKey({ columns: [table.namespace, table.repository, table.digest] }),
  index("registry_manifests_subject").on(table.namespace, table.repository, table.subject),
  index("registry_manifests_digest").on(table.digest),
]);

export const registryBlobs = sqliteTable("registry_blobs", {
  namespace: text("namespace").notNull(),
  repository: text("repository").notNull(),
  digest: text("digest").notNull(),
  usedAt: time("used_at").notNull(),
}, (table) => [
  primaryKey({ columns: [table.namespace, table.repository, table.digest] }),
  index("registry_blobs_digest").on(table.digest, table.namespace),
]);

export const invocations = sqliteTable("invocations", {
  id: text("id").primaryKey(),
  namespace: text("namespace").notNull(),
  function: text("function").notNull(),
  revision: integer("revision").notNull(),
  status: text("status", { enum: invocationStatuses }).notNull(),
  startedAt: time("started_at").notNull(),
  durationMs: real("duration_ms"),
  exitCode: integer("exit_code"),
  error: text("error"),
  stderr: text("stderr"),
  cpuMicros: integer("cpu_micros"),
  memoryPeakBytes: integer("memory_peak_bytes"),
  requestBytes: integer("request_bytes").notNull(),
  responseBytes: integer("response_bytes").notNull(),
  traceId: text("trace_id"),
  phases: json("phases", PhasesSchema).notNull(),
}, (table) => [index("invocations_function").on(table.namespace, table.function, table.id)]);

/** Asynchronous calls: what was asked, how it stands, what was answered. A body is kept of those that have failed. */
export const calls = sqliteTable("calls", {
  id: text("id").primaryKey(),
  namespace: text("namespace").notNull(),
  function: text("function").notNull(),
  /** `deleted`: its message is still in the queue. */
  status: text("status", { enum: [...callStatuses, "deleted"] }).notNull(),
  attempts: integer("attempts").notNull(),
  createdAt: time("created_at").notNull(),
  dueAt: time("due_at").notNull(),
  finishedAt: time("finished_at"),
  error: text("error"),
  invocation: text("invocation"),
  request: json("request", CallRequestSchema).notNull(),
  body: bytes("body"),
  contentType: text("content_type"),
  answer: bytes("answer"),
  callbackUrl: text("callback_url"),
  callbackStatus: text("callback_status", { enum: callbackStatuses }),
  callbackAttempts: integer("callback_attempts").notNull().default(0),
  /** Null while the call has not ended. */
  callbackDueAt: time("callback_due_at"),
  callbackError: text("callback_error"),
}, (table) => [
  index("calls_callback").on(table.callbackStatus, table.callbackDueAt).where(sql`${table.callbackStatus} IS NOT NULL`),
  index("calls_status").on(table.status, table.namespace, table.id),
  index("calls_function").on(table.namespace, table.function, table.id),
]);

/** The messages of the queue. */
export const queueMessages = sqliteTable("queue_messages", {
  /** Its place among those of the same time. */
  seq: integer("seq").primaryKey({ autoIncrement: true }),
  id: text("id").notNull(),
  namespace: text("namespace").notNull(),
  name: text("name").notNull(),
  held: integer("held", { mode: "boolean" }).notNull(),
  dueAt: time("due_at").notNull(),
  /** How often it was given out. */
  deliveries: integer("deliveries").notNull(),
  data: bytes("data").notNull(),
}, (table) => [
  unique("queue_messages_id").on(table.id),
  index("queue_messages_due").on(table.namespace, table.name, table.held, table.dueAt),
  index("queue_messages_held").on(table.held).where(sql`${table.held} = 1`),
]);

/** Until when the schedules of functions have been kept. */
export const scheduleMarks = sqliteTable("schedule_marks", {
  namespace: text("namespace").notNull(),
  function: text("function").notNull(),
  key: text("key").notNull(),
  at: time("at").notNull(),
}, (table) => [primaryKey({ columns: [table.namespace, table.function, table.key] })]);

/** Which ids of the host are a namespace's. */
export const idRanges = sqliteTable("id_ranges", {
  namespace: text("namespace").primaryKey(),
  first: integer("first").notNull(),
}, (table) => [uniqueIndex("id_ranges_first").on(table.first)]);

/** Who may ask for what over TCP. */
export const tokens = sqliteTable("tokens", {
  id: text("id").primaryKey(),
  namespace: text("namespace").notNull(),
  name: text("name").notNull(),
  scopes: json("scopes", v.array(v.picklist(scopes))).notNull(),
  hash: text("hash").$type<Digest>().notNull(),
  createdAt: time("created_at").notNull(),
  expiresAt: time("expires_at"),
  rate: text("rate"),
}, (table) => [unique("tokens_name").on(table.namespace, table.name)]);
