import * as v from "valibot";

/** Facts that somebody keeps with a thing. Those that this program keeps itself begin with `mayfly/`. */
export type Labels = Readonly<Record<string, string>>;

/** A snapshot that has it, with whatever value, is no garbage, nor are its parents. containerd gives it the same meaning. */
export const rootLabel = "containerd.io/gc.root";

/**
 * Labels by which an image, container or snapshot keeps other things: `containerd.io/gc.ref.content` and
 * `containerd.io/gc.ref.snapshot.<snapshotter>`, each with anything behind a dot or slash, so that there can be many.
 * @see https://github.com/containerd/containerd/blob/v2.1.0/docs/garbage-collection.md#garbage-collection-labels
 */
const contentReference = /^containerd\.io\/gc\.ref\.content(?:[./].*)?$/;
const snapshotReference = /^containerd\.io\/gc\.ref\.snapshot\.([^./]+)(?:[./].*)?$/;

/** What labels keep, in a lease's words: `content/<digest>`, `snapshot/<snapshotter>/<key>`. */
export function* referencesOf(labels: Labels): Generator<string> {
  for (const [name, value] of Object.entries(labels)) {
    const snapshotter = snapshotReference.exec(name)?.[1];
    if (contentReference.test(name)) yield `content/${value}`;
    else if (snapshotter !== undefined) yield `snapshot/${snapshotter}/${value}`;
  }
}

/** The longest label, name and value together, in characters; containerd has the same limit. */
const longestLabel = 4096;

/** Labels from outside. */
export const LabelsSchema = v.pipe(
  v.record(v.pipe(v.string(), v.minLength(1, "a label's name")), v.string()),
  v.check(
    (labels) => Object.entries(labels).every(([name, value]) => name.length + value.length <= longestLabel),
    `labels of ${longestLabel} characters at most, name and value together`,
  ),
);

/** Changes of labels from outside: a value, or null for a label that goes. */
export const LabelChangesSchema = v.record(
  v.pipe(v.string(), v.minLength(1, "a label's name")),
  v.nullable(v.string()),
);
export type LabelChanges = Readonly<v.InferOutput<typeof LabelChangesSchema>>;

/** The labels after some changes. */
export function changeLabels(labels: Labels, changes: LabelChanges): Labels {
  const changed = new Map(Object.entries(labels));
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) changed.delete(name);
    else changed.set(name, value);
  }
  return Object.fromEntries(changed);
}
