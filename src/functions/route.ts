import { Failure } from "../core/errors.ts";
import type { DeployedFunction } from "../core/function.ts";
import { latest, revisionNumber } from "../core/revision.ts";
import type { InvocationRequest } from "./request.ts";

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

  /** Whether anybody may reach it. */
  reaches(revision: number): boolean {
    return this.split.has(revision) || [...this.tags.values()].includes(revision);
  }

  /**
   * The revision that a request is for: the one that it asks for, else one by weight, so that each hundred requests are split
   * exactly.
   * @throws not_found for one that is not there, or may not be reached: who comes by the Unix socket may reach all.
   */
  choose(request: Pick<InvocationRequest, "headers" | "client">): number {
    return this.asked(request) ?? this.#next();
  }

  /** The one that a request asks for by name. @throws as `choose`. */
  asked({ headers, client }: Pick<InvocationRequest, "headers" | "client">): number | undefined {
    const asked = headers.get(revisionHeader);
    if (asked === null) return undefined;
    const name = this.#name;
    const number = this.tags.get(asked) ?? (asked === latest ? this.newest : revisionNumber(name, asked));
    if (number !== undefined && number <= this.newest && (client === undefined || this.reaches(number))) return number;
    throw new Failure(
      "not_found",
      `function ${JSON.stringify(name)} has no revision ${JSON.stringify(asked.slice(0, 80))} for requests: ` +
        "it wants a tag, or one that has a tag or a share of the traffic",
    );
  }

  #next(): number {
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
