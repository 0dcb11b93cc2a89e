import { Hono } from "hono";
import * as v from "valibot";
import { ContainerInputSchema, ContainerResourcesSchema, LabelsSchema } from "../core/container.ts";
import { frameType } from "../core/stdio_frames.ts";
import { byteStream } from "./byte_stream.ts";
import { logBytes } from "./container_logs.ts";
import { countField, flagField, json, labelsField, namespaceField, query, signalField } from "./input.ts";
import type { ApiParts } from "./parts.ts";
import { statsLines } from "./stats_lines.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const timeField = v.optional(
  v.pipe(v.string(), v.isoTimestamp("a time as 2026-01-31T12:00:00Z"), v.transform((text) => Date.parse(text))),
);
/** `/v1/containers`: containers that live on. Each is named by its id, the beginning of it, or its name. */
export function containerRoutes({ containers }: ApiParts) {
  return new Hono()
    .get(
      "/",
      query(v.strictObject({ namespace: namespaceField, all: flagField, label: labelsField })),
      async (c) => {
        const { namespace, all, label } = c.req.valid("query");
        return c.json({ items: await containers.list(namespace, { all, labels: label }) });
      },
    )
    .post("/", scope, json(ContainerInputSchema), async (c) => {
      return c.json(await containers.create(c.req.valid("query").namespace, c.req.valid("json")), 201);
    })
    .post("/prune", query(v.strictObject({ namespace: namespaceField, label: labelsField })), async (c) => {
      const { namespace, label } = c.req.valid("query");
      return c.json({ items: await containers.prune(namespace, label) });
    })
    .get("/:id", scope, async (c) => {
      return c.json(await containers.get(c.req.valid("query").namespace, c.req.param("id")));
    })
    .patch(
      "/:id",
      scope,
      json(v.strictObject({ resources: v.optional(ContainerResourcesSchema), labels: v.optional(LabelsSchema) })),
      async (c) => {
        const { namespace } = c.req.valid("query");
        const { resources, labels } = c.req.valid("json");
        const changes = { ...(resources && { resources }), ...(labels && { labels }) };
        return c.json(await containers.update(namespace, c.req.param("id"), changes));
      },
    )
    .delete("/:id", query(v.strictObject({ namespace: namespaceField, force: flagField })), async (c) => {
      const { namespace, force } = c.req.valid("query");
      await containers.remove(namespace, c.req.param("id"), { force });
      return c.body(null, 204);
    })
    .post("/:id/start", scope, async (c) => {
      return c.json(await containers.start(c.req.valid("query").namespace, c.req.param("id")));
    })
    .post(
      "/:id/stop",
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
    .post("/:id/kill", query(v.strictObject({ namespace: namespaceField, signal: signalField })), async (c) => {
      const { namespace, signal } = c.req.valid("query");
      await containers.kill(namespace, c.req.param("id"), signal);
      return c.body(null, 204);
    })
    .post(
      "/:id/wait",
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
    .post("/:id/pause", scope, async (c) => {
      await containers.pause(c.req.valid("query").namespace, c.req.param("id"));
      return c.body(null, 204);
    })
    .post("/:id/resume", scope, async (c) => {
      await containers.resume(c.req.valid("query").namespace, c.req.param("id"));
      return c.body(null, 204);
    })
    .get("/:id/processes", scope, async (c) => {
      return c.json({ items: await containers.processes(c.req.valid("query").namespace, c.req.param("id")) });
    })
    .get("/:id/stats", scope, async (c) => {
      return c.json(await containers.stats(c.req.valid("query").namespace, c.req.param("id")));
    })
    // JSON lines, one each second, until the container ends.
    .get("/:id/stats/stream", scope, async (c) => {
      return await statsLines(
        (await containers.live(c.req.valid("query").namespace, c.req.param("id"), "measure")).task,
      );
    })
    // The bytes as they came; with `Accept: application/vnd.mayfly.stdio`, as frames that tell stdout from stderr.
    .get(
      "/:id/logs",
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
