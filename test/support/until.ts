import assert from "node:assert/strict";

/** Asks again until there is an answer. @throws after 20 s. */
export async function until<T>(ask: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
  const deadline = Date.now() + 20_000;
  while (true) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    assert.ok(Date.now() < deadline, "it did not come to pass within 20 s");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
