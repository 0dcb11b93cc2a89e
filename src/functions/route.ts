import { Failure } from "../core/errors.ts";
import type { DeployedFunction } from "../core/function.ts";
import { latest, revisionNumber } from "../core/revision.ts";

/** Prime to 100 and near its golden section: every hundred steps go to each hundredth once, and apart from each other. */
const stride = 61;

/** The revision that a request asks for: a tag, a revision's name or number, or `latest`. */
export const revisionHeader = "x-mayfly-revision";

/** Takes turns by percents, so that each hundred are split exactly. */
class Turns {
  readonly #percents: ReadonlyMap<number, number>;
  /** Who gets what the percents leave. */
  readonly #rest: number;
  #position = 0;

  constructor(percents: ReadonlyMap<number, number>, rest: number) {
    this.#percents = percents;
    this.#rest = rest;
  }

  next(): number {
    this.#position = (this.#position + stride) % 100;
    let end = 0;
    for (const [revision, percent] of this.#percents) {
      end += percent;
      if (this.#position < end) return revision;
    }
    return this.#rest;
  }
}

/** Which of a function's revisions answers a request. */
export class Route {
  /** The newest revision. */
  readonly newest: number;
  /** Percents by revision. */
  readonly split: ReadonlyMap<number, number>;
  readonly tags: ReadonlyMap<string, number>;
  /** Those that may be asked for by name: they have a tag or a share of one, or are published. */
  readonly named: ReadonlySet<number>;
  /** How many requests at once there are containers for before they come, by revision. */
  readonly provisioned: ReadonlyMap<number, number>;
  readonly #name: string;
  readonly #turns: Turns;
  /** Of the tags that several revisions answer. */
  readonly #shared: ReadonlyMap<string, Turns>;

  constructor(record: Pick<DeployedFunction, "name" | "revision" | "traffic">) {
    this.#name = record.name;
    this.newest = record.revision;
    const split = new Map<number, number>();
    for (const { revision, percent } of record.traffic.split) {
      const number = this.#number(revision);
      split.set(number, (split.get(number) ?? 0) + percent);
    }
    this.split = split;
    this.#turns = new Turns(split, this.newest);
    const { tags, shares = {}, published = {} } = record.traffic;
    this.tags = new Map(Object.entries(tags).map(([tag, revision]) => [tag, this.#number(revision)]));
    const named = new Set([...this.tags.values(), ...Object.keys(published).map((revision) => this.#number(revision))]);
    const shared = new Map<string, Turns>();
    for (const [tag, share] of Object.entries(shares)) {
      const percents = new Map(Object.entries(share).map(([revision, percent]) => [this.#number(revision), percent]));
      for (const revision of percents.keys()) named.add(revision);
      shared.set(tag, new Turns(percents, this.tags.get(tag) ?? this.newest));
    }
    const provisioned = new Map<number, number>();
    for (const [target, count] of Object.entries(record.traffic.provisioned ?? {})) {
      // The newest is another one with each deployment, which makes ready what its own settings say.
      if (tags[target] === latest) continue;
      const number = this.#number(tags[target] ?? target);
      provisioned.set(number, (provisioned.get(number) ?? 0) + count);
    }
    this.provisioned = provisioned;
    this.#shared = shared;
    this.named = named;
  }

  /** The one with the most traffic; of several the newest. */
  get main(): number {
    const [[main] = [this.newest]] = [...this.split].sort(([a, x], [b, y]) => y - x || b - a);
    return main;
  }

  /** Those that may have containers ready: with traffic, or provisioned. */
  get kept(): ReadonlySet<number> {
    return new Set([...this.split.keys(), ...this.provisioned.keys()]);
  }

  /** Whether it has traffic, or may be asked for. */
  reaches(revision: number): boolean {
    return this.split.has(revision) || this.named.has(revision);
  }

  /**
   * The revision that a request asks for by name.
   * @throws not_found for one that there never was.
   */
  asked(headers: Pick<Headers, "get">): number | undefined {
    const asked = headers.get(revisionHeader);
    if (asked === null) return undefined;
    const number = this.#shared.get(asked)?.next() ?? this.tags.get(asked) ??
      (asked === latest ? this.newest : revisionNumber(this.#name, asked));
    if (number !== undefined && number <= this.newest) return number;
    throw notForRequests(this.#name, asked);
  }

  /** A revision by weight, so that each hundred requests are split exactly. */
  next(): number {
    return this.#turns.next();
  }

  #number(revision: string): number {
    return (revision === latest ? undefined : revisionNumber(this.#name, revision)) ?? this.newest;
  }
}

/** Nobody may reach a revision that is asked for. */
export function notForRequests(name: string, asked: string): Failure {
  return new Failure(
    "not_found",
    `function ${JSON.stringify(name)} has no revision ${JSON.stringify(asked.slice(0, 80))} for requests: ` +
      "it wants a tag, or one that has a tag or a share of the traffic",
  );
}
