import * as v from "valibot";
import { Failure } from "./errors.ts";

const seconds = { s: 1, m: 60, h: 3600 } as const;

/** How many requests in how long: `100/s`, `600/m`, `1000/h`. */
export const RateSchema = v.pipe(
  v.string(),
  v.regex(/^[1-9]\d{0,8}\/[smh]$/, "requests in a second, a minute or an hour, as 100/s, 600/m or 1000/h"),
);

/** What is left of a rate. */
export interface RateState {
  /** How many requests may come in `windowSeconds`; as many may come at once. */
  readonly quota: number;
  readonly windowSeconds: number;
  /** How many may come now. */
  readonly remaining: number;
  /** When they are all there again, where none comes meanwhile. */
  readonly resetSeconds: number;
}

/**
 * A bucket of tokens: each request takes one, and they come back evenly.
 * @see https://en.wikipedia.org/wiki/Token_bucket
 */
export class Rate {
  readonly text: string;
  readonly #quota: number;
  readonly #windowSeconds: number;
  readonly #now: () => number;
  #tokens: number;
  #atMs: number;

  /** @param text as `RateSchema` has it. @param now milliseconds of a clock that never goes back. */
  constructor(text: string, now: () => number = () => performance.now()) {
    const [quota, unit] = text.split("/");
    this.text = text;
    this.#quota = Number(quota);
    this.#windowSeconds = seconds[unit as keyof typeof seconds];
    this.#now = now;
    this.#tokens = this.#quota;
    this.#atMs = now();
  }

  /** Takes one. @param whose for the message: `function "upper"`. @throws resource_exhausted, with when to come again. */
  take(whose: string): RateState {
    const nowMs = this.#now();
    const perMs = this.#quota / this.#windowSeconds / 1000;
    this.#tokens = Math.min(this.#quota, this.#tokens + (nowMs - this.#atMs) * perMs);
    this.#atMs = nowMs;
    if (this.#tokens < 1) {
      throw new Failure(
        "resource_exhausted",
        `too many requests: ${whose} may have ${this.text}`,
        {
          details: {
            retryAfterSeconds: Math.max(1, whole((1 - this.#tokens) / perMs / 1000)),
            rate: this.#state(perMs),
          },
        },
      );
    }
    this.#tokens--;
    return this.#state(perMs);
  }

  #state(perMs: number): RateState {
    return {
      quota: this.#quota,
      windowSeconds: this.#windowSeconds,
      remaining: Math.floor(this.#tokens),
      resetSeconds: whole((this.#quota - this.#tokens) / perMs / 1000),
    };
  }
}

/** Rounds up, but not for what a sum of fractions is off. */
function whole(seconds: number): number {
  return Math.ceil(seconds - 1e-6);
}

/** Rates by whose they are; one that has changed begins anew. Where there is none, nothing is counted. */
export class Rates {
  readonly #rates = new Map<string, Rate>();

  /** @throws resource_exhausted. */
  take(key: string, rate: string | undefined, whose: string): RateState | undefined {
    if (rate === undefined) {
      this.#rates.delete(key);
      return undefined;
    }
    let known = this.#rates.get(key);
    if (known?.text !== rate) this.#rates.set(key, known = new Rate(rate));
    return known.take(whose);
  }

  /** Forgets all whose keys begin so. */
  forget(prefix: string): void {
    for (const key of this.#rates.keys()) if (key.startsWith(prefix)) this.#rates.delete(key);
  }
}

/**
 * What an answer says of a rate.
 * @param policy `function` or `token`.
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 */
export function addRateHeaders(headers: Headers, policy: string, state: RateState): void {
  headers.append("ratelimit-policy", `"${policy}";q=${state.quota};w=${state.windowSeconds}`);
  headers.append("ratelimit", `"${policy}";r=${state.remaining};t=${state.resetSeconds}`);
}
