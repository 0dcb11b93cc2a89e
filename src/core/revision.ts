import * as v from "valibot";
import { Failure } from "./errors.ts";
import { type KeptRevision, NameSchema } from "./function.ts";

/** Stands for whichever revision is the newest. */
export const latest = "latest";

/** The most revisions that share a function's traffic, and the most tags. */
const maxParts = 32;

/** `upper`, 3 → `upper-00003` */
export function revisionName(name: string, revision: number): string {
  return `${name}-${String(revision).padStart(5, "0")}`;
}

/**
 * The number of a function's revision, as it may be written: `upper-00003` or `3`.
 * @returns undefined for what is none of that function's.
 */
export function revisionNumber(name: string, text: string): number | undefined {
  const digits = text.startsWith(`${name}-`) ? text.slice(name.length + 1) : text;
  return /^\d{1,9}$/.test(digits) && Number(digits) > 0 ? Number(digits) : undefined;
}

/** A name for a revision. It is none that a revision has by itself. */
export const TagSchema = v.pipe(
  NameSchema,
  v.check((tag) => tag !== latest && !/^\d+$|-\d{5,}$/.test(tag), `a name that is not "latest" and no revision's`),
);

const TargetSchema = v.pipe(v.string(), v.minLength(1), v.maxLength(80));

const SplitSchema = v.pipe(
  v.array(v.strictObject({
    /** `latest`, or a revision's name or number. */
    revision: TargetSchema,
    percent: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100)),
  })),
  v.minLength(1),
  v.maxLength(maxParts),
  v.check((split) => split.reduce((sum, { percent }) => sum + percent, 0) === 100, "percents whose sum is 100"),
);

/** Which revisions answer a function's requests. */
export const TrafficSchema = v.strictObject({
  /** By weight. */
  split: SplitSchema,
  /** Those that may be asked for by name. */
  tags: v.optional(v.pipe(v.record(TagSchema, TargetSchema), v.maxEntries(maxParts)), {}),
});
/** As it is kept: revisions by their whole names, or `latest`. */
export type Traffic = v.InferOutput<typeof TrafficSchema>;

/** A revision as it is listed. */
export interface RevisionInfo extends KeptRevision {
  /** Its name: `upper-00003`. */
  readonly id: string;
  /** Its share of the traffic. */
  readonly percent: number;
  readonly tags: readonly string[];
}

/** What is to change of it (`PATCH /v1/functions/{name}/traffic`). */
export const TrafficChangeSchema = v.strictObject({
  /** In place of the split there is. */
  split: v.optional(SplitSchema),
  /** Beside those there are; null takes one away. */
  tags: v.optional(v.pipe(v.record(TagSchema, v.nullable(TargetSchema)), v.maxEntries(maxParts)), {}),
});
export type TrafficChange = v.InferOutput<typeof TrafficChangeSchema>;
/** As a caller writes it. */
export type TrafficChangeInput = v.InferInput<typeof TrafficChangeSchema>;

/** What a function begins with: the newest revision answers all. */
export const allToLatest: Traffic = { split: [{ revision: latest, percent: 100 }], tags: {} };

/** What follows the newest revision stays with the one that is the newest now. */
export function pinned({ split, tags }: Traffic, name: string, newest: number): Traffic {
  return {
    split: split.map((part) => part.revision === latest ? { ...part, revision: revisionName(name, newest) } : part),
    tags,
  };
}

/**
 * Makes a change, with every revision by its whole name.
 * @throws invalid_argument for what names no revision, or one twice in the split.
 */
export function changed(traffic: Traffic, { split, tags }: Partial<TrafficChange>, name: string): Traffic {
  const whole = (text: string): string => {
    if (text === latest) return latest;
    const number = revisionNumber(name, text);
    if (number !== undefined) return revisionName(name, number);
    throw wrong(`${JSON.stringify(text)} is no revision of it, wanted "latest" or as ${revisionName(name, 1)}`);
  };
  const next = split?.map(({ revision, percent }) => ({ revision: whole(revision), percent })) ?? traffic.split;
  const twice = next.find(({ revision }, i) => next.findIndex((part) => part.revision === revision) !== i);
  if (twice !== undefined) throw wrong(`${JSON.stringify(twice.revision)} stands there twice`);
  const named = new Map(Object.entries(traffic.tags));
  for (const [tag, revision] of Object.entries(tags ?? {})) {
    if (revision === null) named.delete(tag);
    else named.set(tag, whole(revision));
  }
  if (named.size > maxParts) throw wrong(`it would have ${named.size} tags, ${maxParts} at most`);
  return { split: next, tags: Object.fromEntries(named) };
}

function wrong(what: string): Failure {
  return new Failure("invalid_argument", `cannot split traffic: ${what}`, { details: { field: "split" } });
}
