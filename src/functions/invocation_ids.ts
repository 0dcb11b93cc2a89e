const digits = "0123456789abcdefghjkmnpqrstvwxyz";

/**
 * Makes ids of 26 characters that sort by time: 10 for the millisecond, 16 random ones (80 bits), in Crockford's base 32
 * and lower case, so that an id is also a task id, a cgroup name and a host name.
 * @see https://github.com/ulid/spec
 */
export class InvocationIds {
  // Random numbers are drawn in bulk: one call into the system for each id would cost more than the rest of it.
  readonly #random = new Uint8Array(4096);
  #used = this.#random.length;
  #ms = -1;
  #time = "";

  next(now: number = Date.now()): string {
    if (now !== this.#ms) {
      this.#ms = now;
      this.#time = timeDigits(now);
    }
    if (this.#used + 16 > this.#random.length) {
      crypto.getRandomValues(this.#random);
      this.#used = 0;
    }
    let id = this.#time;
    for (const end = this.#used + 16; this.#used < end; this.#used++) {
      id += digits[(this.#random[this.#used] ?? 0) & 31];
    }
    return id;
  }
}

function timeDigits(ms: number): string {
  let text = "";
  for (let rest = ms, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) text = digits[rest % 32] + text;
  return text;
}
