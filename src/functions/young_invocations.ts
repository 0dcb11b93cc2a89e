/** How long one may take to begin to answer, and count as young. */
const youngMs = 100;

/** What of an answer leaves before it counts as one of very many bytes. */
const manyBytes = 1024 * 1024;

/** How long such an answer waits with each of its parts, while one is young. */
const pauseMs = 1;

/**
 * Invocations that have just begun. Answers of very many bytes take turns with them: each part of such an answer, and it is
 * a part of 64 KiB mostly, would else come before the next step of all others.
 */
export class YoungInvocations {
  #count = 0;

  /** One begins; it is young until its answer does, or for a moment. */
  add(answer: Promise<unknown>): void {
    this.#count++;
    let young = true;
    const end = () => {
      if (young) this.#count--;
      young = false;
      clearTimeout(timer);
    };
    const timer = setTimeout(end, youngMs);
    answer.then(end, end);
  }

  /** Waits with the next part of an answer. @param bytes how many have left. */
  async letPass(bytes: number): Promise<void> {
    if (this.#count === 0 || bytes < manyBytes) return;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
