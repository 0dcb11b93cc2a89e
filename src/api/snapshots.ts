import { Hono } from "hono";
import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import { LabelChangesSchema } from "../core/labels.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import { hasLabels } from "../tasks/labels.ts";
import { json, labelsField, query } from "./input.ts";
import { itemsOf, SnapshotAnswer, SnapshotStatAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiParts } from "./parts.ts";

const snapshotter = v.pipe(v.string(), v.minLength(1), v.maxLength(64));
const key = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
const one = query(v.strictObject({ snapshotter, key }));

/** `/v1/snapshots`: what the snapshotters have, over all namespaces. A key may hold slashes: it stands in the query. */
export function snapshotRoutes({ snapshotters }: ApiParts) {
  const named = (id: string): Snapshotter => {
    const found = snapshotters.get(id);
    if (found !== undefined) return found;
    const known = [...snapshotters.keys()].join(", ") || "none";
    throw new Failure("invalid_argument", `no snapshotter ${JSON.stringify(id)} is running: there are ${known}`, {
      details: { field: "snapshotter" },
    });
  };
  return new Hono()
    .get(
      "/",
      documented("Lists snapshots.", { 200: itemsOf(SnapshotAnswer) }),
      query(v.strictObject({
        snapshotter: v.optional(snapshotter),
        kind: v.optional(v.picklist(["committed", "active", "view"])),
        parent: v.optional(key),
        prefix: v.optional(key),
        label: labelsField,
      })),
      async (c) => {
        const { snapshotter: id, label, ...filter } = c.req.valid("query");
        const wanted = id === undefined ? [...snapshotters.values()] : [named(id)];
        const found = await Promise.all(
          wanted.map(async (each) =>
            (await each.walk(filter)).filter(({ labels }) => hasLabels(labels, label))
              .map((info) => ({ snapshotter: each.id, ...info }))
          ),
        );
        return c.json({ items: found.flat() });
      },
    )
    .get(
      "/stat",
      documented("Shows a snapshot, and the disk space of it.", { 200: SnapshotStatAnswer }, {
        problems: ["not_found"],
      }),
      one,
      async (c) => {
        const { snapshotter: id, key } = c.req.valid("query");
        const each = named(id);
        return c.json({ snapshotter: id, ...await each.stat(key), usage: await each.usage(key) });
      },
    )
    .patch(
      "/",
      documented("Changes a snapshot's labels.", { 200: SnapshotAnswer }, { problems: ["not_found"] }),
      one,
      json(v.strictObject({ labels: LabelChangesSchema })),
      async (c) => {
        const { snapshotter: id, key } = c.req.valid("query");
        return c.json({ snapshotter: id, ...await named(id).update(key, c.req.valid("json").labels) });
      },
    );
}
