import { Failure, messageOf } from "../../core/errors.ts";
import { statusOf } from "../errors.ts";

/** An error as OpenFaaS's clients print it: a line of text. What a defect says stays in the log. */
export function textResponse(error: unknown): Response {
  const known = error instanceof Failure;
  const status = statusOf(error);
  const text = known ? messageOf(error) : "an unexpected error, which the daemon's log describes";
  const headers = new Headers({ "content-type": "text/plain; charset=utf-8" });
  const retryAfterSeconds = known ? error.details?.["retryAfterSeconds"] : undefined;
  if (typeof retryAfterSeconds === "number") headers.set("retry-after", String(retryAfterSeconds));
  if (status === 401) headers.set("www-authenticate", 'Basic realm="mayfly"');
  return new Response(`${text}\n`, { status, headers });
}
