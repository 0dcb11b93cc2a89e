import * as v from "valibot";

/** Facts that somebody keeps with a thing. Those that this program keeps itself begin with `mayfly/`. */
export type Labels = Readonly<Record<string, string>>;

/** A snapshot that has it, with whatever value, is no garbage, nor are its parents. containerd gives it the same meaning. */
export const rootLabel = "containerd.io/gc.root";

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
