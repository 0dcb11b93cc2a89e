import { Failure } from "../core/errors.ts";
import type { DeployedFunction } from "../core/function.ts";
import { latest, revisionNumber } from "../core/revision.ts";

/** Prime to 100 and near its golden section: every hundred steps go to each hundredth once, and apart from each other. */
const stride = 61;

/** The revision that a request asks for: a tag, a revision's name or number, or `latest`. */
export const revisionHeader = "x-mayfly-revision";

/** Which of a function's revisions answers a request. */
export class Route {
  /** The newest revision. */
  readonly newest: number;
  /** Percents by revision. */
  readonly split: ReadonlyMap<number, number>;
  readonly tags: ReadonlyMap<string, number>;
  readonly #name: string;
  #position = 0;

  constructor(record: Pick<DeployedFunction, "name" | "revision" | "traffic">) {
    this.#name = record.name;
    this.newest = record.revision;
    const split = new Map<number, number>();
    for (const { revision, percent } of record.traffic.split) {
      const number = this.#number(revision);
      split.set(number, (split.get(number) ?? 0) + percent);
    }
    this.split = split;
    this.tags = new Map(Object.entries(record.traffic.tags).map(([tag, revision]) => [tag, this.#number(revision)]));
  }

  /** The one with the most traffic; of several the newest. */
  get main(): number {
    const [[main] = [this.newest]] = [...this.split].sort(([a, x], [b, y]) => y - x || b - a);
    return main;
  }

  /** Whether it has traffic or a tag. */
  reaches(revision: number): boolean {
    return this.split.has(revision) || [...this.tags.values()].includes(revision);
  }

  /**
   * The revision that a request asks for by name.
   * @throws not_found for one that there never was.
   */
  asked(headers: Pick<Headers, "get">): number | undefined {
    const asked = headers.get(revisionHeader);
    if (asked === null) return undefined;
    const number = this.tags.get(asked) ?? (asked === latest ? this.newest : revisionNumber(this.#name, asked));
    if (number !== undefined && number <= this.newest) return number;
    throw notForRequests(this.#name, asked);
  }

  /** A revision by weight, so that each hundred requests are split exactly. */
  next(): number {
    this.#position = (this.#position + stride) % 100;
    let end = 0;
    for (const [revision, percent] of this.split) {
      end += percent;
      if (this.#position < end) return revision;
    }
    return this.newest;
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
