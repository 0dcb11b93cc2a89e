import * as v from "valibot";
import { Failure } from "./errors.ts";
import { type KeptRevision, NameSchema } from "./function.ts";

/** Stands for whichever revision is the newest. */
export const latest = "latest";

/** The most revisions that share a function's traffic, and the most tags. */
const maxParts = 32;
/** The most revisions that are published. */
const maxPublished = 256;

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
  v.check((split) => sum(split.map(({ percent }) => percent)) === 100, "percents whose sum is 100"),
);

const NoteSchema = v.pipe(v.string(), v.maxLength(256));

/** What may be said besides, of tags and of revisions. */
const besides = {
  /** Of requests for a tag: the percents that other revisions get than the tag's own. */
  shares: v.optional(v.pipe(
    v.record(
      TagSchema,
      v.pipe(
        v.record(TargetSchema, v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100))),
        v.check((share) => sum(Object.values(share)) <= 100, "percents whose sum is 100 at most"),
      ),
    ),
    v.maxEntries(maxParts),
  )),
  /** Revisions that are kept, and may be asked for, whatever is deployed; with what somebody says of each. */
  published: v.optional(v.pipe(v.record(TargetSchema, NoteSchema), v.maxEntries(maxPublished))),
  /** What somebody says of tags. */
  notes: v.optional(v.pipe(v.record(TagSchema, NoteSchema), v.maxEntries(maxParts))),
  /**
   * How many requests at once there are containers for, ready before the requests come, by tag or published revision, whether
   * it has traffic or not; 0 for none.
   */
  provisioned: v.optional(v.pipe(
    v.record(TargetSchema, v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1000))),
    v.maxEntries(maxParts),
  )),
};

function sum(percents: readonly number[]): number {
  return percents.reduce((all, percent) => all + percent, 0);
}

/** Which revisions answer a function's requests. */
export const TrafficSchema = v.strictObject({
  /** By weight. */
  split: SplitSchema,
  /** Those that may be asked for by name. */
  tags: v.optional(v.pipe(v.record(TagSchema, TargetSchema), v.maxEntries(maxParts)), {}),
  ...besides,
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
  ...besides,
});
export type TrafficChange = v.InferOutput<typeof TrafficChangeSchema>;
/** As a caller writes it. */
export type TrafficChangeInput = v.InferInput<typeof TrafficChangeSchema>;

/** What a function begins with: the newest revision answers all. */
export const allToLatest: Traffic = { split: [{ revision: latest, percent: 100 }], tags: {} };

/** What follows the newest revision stays with the one that is the newest now. */
export function pinned({ split, ...rest }: Traffic, name: string, newest: number): Traffic {
  return {
    ...rest,
    split: split.map((part) => part.revision === latest ? { ...part, revision: revisionName(name, newest) } : part),
  };
}

/**
 * Makes a change, with every revision by its whole name. A tag that is set anew has no shares but those given with it; what is
 * said of a tag goes with it.
 * @throws invalid_argument for what names no revision, or one twice in the split.
 */
export function changed(traffic: Traffic, change: Partial<TrafficChange>, name: string): Traffic {
  const { split, tags = {} } = change;
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
  for (const [tag, revision] of Object.entries(tags)) {
    if (revision === null) named.delete(tag);
    else named.set(tag, whole(revision));
  }
  if (named.size > maxParts) throw wrong(`it would have ${named.size} tags, ${maxParts} at most`);
  const kept = Object.entries(traffic.shares ?? {}).filter(([tag]) => !Object.hasOwn(tags, tag));
  const shares = [...kept, ...Object.entries(change.shares ?? {})].map((
    [tag, share],
  ) => [tag, wholeKeys(share, whole)]);
  const ofTags = (entries: [string, unknown][]) => Object.fromEntries(entries.filter(([tag]) => named.has(tag)));
  const published = change.published ?? traffic.published;
  const publishedNames = new Set(Object.keys(wholeKeys(published ?? {}, whole)));
  const tagOrWhole = (text: string) => named.has(text) ? text : whole(text);
  const isKept = (target: string) => named.has(target) || publishedNames.has(target);
  const provisioned = wholeKeys(change.provisioned ?? {}, tagOrWhole);
  const unknown = Object.keys(provisioned).find((target) => !isKept(target));
  if (unknown !== undefined) {
    throw wrong(`${JSON.stringify(unknown)} is to be provisioned, and is no tag nor published`);
  }
  const besides: Pick<Traffic, "shares" | "published" | "notes" | "provisioned"> = {
    shares: ofTags(shares as [string, unknown][]) as Traffic["shares"],
    published: published && wholeKeys(published, whole),
    provisioned: Object.fromEntries(
      Object.entries({ ...traffic.provisioned, ...provisioned })
        .filter(([target, count]) => count > 0 && isKept(target)),
    ),
    notes: ofTags(Object.entries({ ...traffic.notes, ...change.notes })) as Traffic["notes"],
  };
  const said = Object.entries(besides).filter(([, value]) => Object.keys(value ?? {}).length > 0);
  return { split: next, tags: Object.fromEntries(named), ...Object.fromEntries(said) };
}

function wholeKeys<T>(of: Readonly<Record<string, T>>, whole: (text: string) => string): Record<string, T> {
  return Object.fromEntries(Object.entries(of).map(([revision, value]) => [whole(revision), value]));
}

function wrong(what: string): Failure {
  return new Failure("invalid_argument", `cannot split traffic: ${what}`, { details: { field: "split" } });
}
