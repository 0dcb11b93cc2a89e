import type { TraceContext } from "../../core/monitor.ts";

/** The most that a client's context may have, encoded. @see https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html */
const contextBytes = 3583;

/**
 * The trace in X-Ray's form.
 * @param given what a caller has sent, for a request that is not traced here.
 * @see https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
 */
export function xrayTrace(trace: TraceContext | undefined, given: string | null): string {
  const [, id = "", parent, flags] = trace?.traceparent.split("-") ?? [];
  if (parent === undefined) {
    if (given !== null && /^Root=1-[0-9a-f]{8}-[0-9a-f]{24}(?:;[\x21-\x7e]*)?$/.test(given)) return given;
    const random = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0"));
    return `Root=1-${Math.floor(Date.now() / 1000).toString(16)}-${random.join("")};Sampled=0`;
  }
  return `Root=1-${id.slice(0, 8)}-${id.slice(8)};Parent=${parent};Sampled=${flags === "01" ? 1 : 0}`;
}

/** A client's context as JSON, from the base64 that it was sent in; undefined where it is none. */
export function clientContext(encoded: string | null): string | undefined {
  if (encoded === null || encoded.length > contextBytes) return undefined;
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    // Written anew: a header field takes neither line ends nor letters beyond those of ASCII.
    return JSON.stringify(value).replace(
      /[\x7f-\uffff]/g,
      (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  } catch {
    return undefined;
  }
}
