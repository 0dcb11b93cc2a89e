/** How often and how long to try again what may succeed later. */
export interface RetryPolicy {
  /** All tries, the first included. */
  readonly attempts: number;
  /** Wait before the second try; doubled for each after it. */
  readonly baseMs: number;
  /** The longest wait. A registry that asks for more is not waited for. */
  readonly maxMs: number;
}

/**
 * How long to wait before another try: between half and the whole of the step, so that many clients do not come back at
 * once, or what the server asked for.
 * @param failures how many tries have failed.
 * @returns undefined when it is of no use to try again.
 */
export function retryDelay(policy: RetryPolicy, failures: number, retryAfter?: string | null): number | undefined {
  if (failures >= policy.attempts) return undefined;
  const step = Math.min(policy.baseMs * 2 ** (failures - 1), policy.maxMs);
  const asked = retryAfter ? parseRetryAfter(retryAfter) : undefined;
  if (asked !== undefined) return asked > policy.maxMs ? undefined : asked;
  return step / 2 + Math.random() * step / 2;
}

/** Milliseconds that a Retry-After header asks for. @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
function parseRetryAfter(text: string): number | undefined {
  const ms = /^\s*[0-9]{1,9}\s*$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(ms, 0);
}
