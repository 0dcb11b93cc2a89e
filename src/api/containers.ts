import { Hono } from "hono";
import * as v from "valibot";
import { ContainerInputSchema, ContainerResourcesSchema, LabelsSchema } from "../core/container.ts";
import { frameType } from "../core/stdio_frames.ts";
import { byteStream } from "./byte_stream.ts";
import { logBytes } from "./container_logs.ts";
import { countField, flagField, json, labelsField, namespaceField, query, signalField } from "./input.ts";
import {
  ContainerAnswer,
  ContainerExitAnswer,
  ContainerInspectAnswer,
  itemsOf,
  ProcessAnswer,
  StatsAnswer,
} from "./answers.ts";
import { documented } from "./documented.ts";
import { jsonLinesType } from "./json_lines.ts";
import { requireMeans } from "./machine_means.ts";
import type { ApiEnv } from "./observe_requests.ts";
import type { ApiParts } from "./parts.ts";
import { statsLines } from "./stats_lines.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const timeField = v.optional(
  v.pipe(v.string(), v.isoTimestamp("a time as 2026-01-31T12:00:00Z"), v.transform((text) => Date.parse(text))),
);
/** `/v1/containers`: containers that live on. Each is named by its id, the beginning of it, or its name. */
export function containerRoutes({ containers }: ApiParts) {
  return new Hono<ApiEnv>()
    .get(
      "/",
      documented("Lists containers: those that run, or all.", { 200: itemsOf(ContainerAnswer) }),
      query(v.strictObject({ namespace: namespaceField, all: flagField, label: labelsField })),
      async (c) => {
        const { namespace, all, label } = c.req.valid("query");
        return c.json({ items: await containers.list(namespace, { all, labels: label }) });
      },
    )
    .post(
      "/",
      documented("Creates a container; an image that is not here is pulled.", { 201: ContainerAnswer }, {
        problems: ["not_found", "already_exists", "permission_denied", "failed_precondition", "unavailable"],
      }),
      scope,
      json(ContainerInputSchema),
      async (c) => {
        requireMeans(await c.var.identify(), c.req.valid("json"), "create a container");
        return c.json(await containers.create(c.req.valid("query").namespace, c.req.valid("json")), 201);
      },
    )
    .post(
      "/prune",
      documented("Removes containers that do not run.", { 200: itemsOf(v.string()) }),
      query(v.strictObject({ namespace: namespaceField, label: labelsField })),
      async (c) => {
        const { namespace, label } = c.req.valid("query");
        return c.json({ items: await containers.prune(namespace, label) });
      },
    )
    .get(
      "/:id",
      documented("Shows a container, with its OCI runtime configuration.", { 200: ContainerInspectAnswer }),
      scope,
      async (c) => {
        return c.json(await containers.get(c.req.valid("query").namespace, c.req.param("id")));
      },
    )
    .patch(
      "/:id",
      documented("Changes limits and labels; limits of what runs at once.", { 200: ContainerAnswer }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      json(v.strictObject({ resources: v.optional(ContainerResourcesSchema), labels: v.optional(LabelsSchema) })),
      async (c) => {
        const { namespace } = c.req.valid("query");
        const { resources, labels } = c.req.valid("json");
        const changes = { ...(resources && { resources }), ...(labels && { labels }) };
        return c.json(await containers.update(namespace, c.req.param("id"), changes));
      },
    )
    .delete(
      "/:id",
      documented("Removes a container, its snapshot and its log.", { 204: null }, {
        problems: ["failed_precondition"],
      }),
      query(v.strictObject({ namespace: namespaceField, force: flagField })),
      async (c) => {
        const { namespace, force } = c.req.valid("query");
        await containers.remove(namespace, c.req.param("id"), { force });
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/start",
      documented("Runs a container's process.", { 200: ContainerAnswer }, {
        problems: ["failed_precondition", "unavailable"],
      }),
      scope,
      async (c) => {
        return c.json(await containers.start(c.req.valid("query").namespace, c.req.param("id")));
      },
    )
    .post(
      "/:id/stop",
      documented("Asks a container to end, waits, and kills it where it has not.", { 200: ContainerAnswer }),
      query(v.strictObject({
        namespace: namespaceField,
        signal: signalField,
        graceMs: v.optional(countField(24 * 3600_000)),
      })),
      async (c) => {
        const { namespace, ...options } = c.req.valid("query");
        return c.json(await containers.stop(namespace, c.req.param("id"), options));
      },
    )
    .post(
      "/:id/kill",
      documented("Signals a container's init.", { 204: null }, { problems: ["failed_precondition"] }),
      query(v.strictObject({ namespace: namespaceField, signal: signalField })),
      async (c) => {
        const { namespace, signal } = c.req.valid("query");
        await containers.kill(namespace, c.req.param("id"), signal);
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/wait",
      documented("Waits for a container's end.", { 200: ContainerExitAnswer }, {
        problems: ["failed_precondition", "aborted"],
      }),
      query(v.strictObject({
        namespace: namespaceField,
        condition: v.optional(v.picklist(["not-running", "next-exit"]), "not-running"),
      })),
      async (c) => {
        const { namespace, condition } = c.req.valid("query");
        const options = { next: condition === "next-exit", signal: c.req.raw.signal };
        return c.json(await containers.wait(namespace, c.req.param("id"), options));
      },
    )
    .post(
      "/:id/pause",
      documented("Freezes a container's processes.", { 204: null }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        await containers.pause(c.req.valid("query").namespace, c.req.param("id"));
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/resume",
      documented("Thaws a container's processes.", { 204: null }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        await containers.resume(c.req.valid("query").namespace, c.req.param("id"));
        return c.body(null, 204);
      },
    )
    .get(
      "/:id/processes",
      documented("Lists a container's processes, with their command lines.", { 200: itemsOf(ProcessAnswer) }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        return c.json({ items: await containers.processes(c.req.valid("query").namespace, c.req.param("id")) });
      },
    )
    .get(
      "/:id/stats",
      documented("Tells what a container uses now.", { 200: StatsAnswer }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        return c.json(await containers.stats(c.req.valid("query").namespace, c.req.param("id")));
      },
    )
    // JSON lines, one each second, until the container ends.
    .get(
      "/:id/stats/stream",
      documented("Tells what a container uses, each second, until it ends.", { 200: jsonLinesType }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        return await statsLines(
          (await containers.live(c.req.valid("query").namespace, c.req.param("id"), "measure")).task,
        );
      },
    )
    // The bytes as they came; with `Accept: application/vnd.mayfly.stdio`, as frames that tell stdout from stderr.
    .get(
      "/:id/logs",
      documented("Gives a container's output, as bytes or as frames that tell stdout from stderr.", {
        200: ["application/octet-stream", frameType],
      }, { headers: { accept: frameType } }),
      query(v.strictObject({
        namespace: namespaceField,
        follow: flagField,
        timestamps: flagField,
        stdout: v.optional(v.picklist(["true", "false"]), "true"),
        stderr: v.optional(v.picklist(["true", "false"]), "true"),
        since: timeField,
        until: timeField,
        tail: v.optional(countField()),
      })),
      async (c) => {
        const { namespace, follow, timestamps, stdout, stderr, since, until, tail } = c.req.valid("query");
        const gone = new AbortController();
        const records = await containers.logs(namespace, c.req.param("id"), {
          follow,
          channels: [
            ...(stdout === "true" ? ["stdout"] as const : []),
            ...(stderr === "true" ? ["stderr"] as const : []),
          ],
          sinceMs: since,
          untilMs: until,
          tail,
          signal: gone.signal,
        });
        const frames = c.req.header("accept")?.includes(frameType) === true;
        const body = byteStream(logBytes(records, { frames, timestamps }), () => gone.abort());
        return c.body(body, 200, { "content-type": frames ? frameType : "application/octet-stream" });
      },
    );
}
