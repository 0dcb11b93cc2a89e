import { digestOf } from "./digest.ts";

/**
 * Takes a secret for comparing.
 * @returns tells whether a text is the secret. Digests are compared: neither the time it takes nor the text's length tells
 * anything about the secret.
 */
export function secret(wanted: string): (given: string) => Promise<boolean> {
  const expected = digestOf(wanted);
  return async (given) => equal(await digestOf(given), await expected);
}

/** Whether texts are the same. The time it takes tells nothing but their length. */
export function equal(left: string, right: string): boolean {
  let difference = left.length ^ right.length;
  for (let i = 0; i < left.length; i++) difference |= left.charCodeAt(i) ^ right.charCodeAt(i);
  return difference === 0;
}
