import * as v from "valibot";
import { type ErrorCode, Failure } from "../core/errors.ts";
import type { Answer } from "./answer.ts";

const maxBodyBytes = 64 * 1024;
const maxErrors = 3;
const maxTextLength = 300;

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes */
const ErrorBody = v.object({
  errors: v.pipe(
    v.array(v.object({ code: v.optional(v.string(), ""), message: v.optional(v.nullable(v.string())) })),
    v.minLength(1),
  ),
});
/** What token servers say, as OAuth2 has it. */
const TokenErrorBody = v.union([
  v.object({ error: v.string(), error_description: v.optional(v.string()) }),
  v.object({ details: v.string() }),
  v.object({ message: v.string() }),
]);

const codes: Readonly<Record<number, ErrorCode>> = {
  400: "invalid_argument",
  401: "unauthenticated",
  403: "permission_denied",
  404: "not_found",
  408: "unavailable",
  410: "not_found",
  416: "failed_precondition",
  429: "resource_exhausted",
};

/**
 * Turns an answer that is none of the wanted ones into a failure, and reads its body for the reason.
 * @param action what was asked for.
 * @param advice what the user can do, where it is known.
 */
export async function registryFailure(action: string, answer: Answer, advice?: string): Promise<Failure> {
  const code = codes[answer.status] ?? (answer.status >= 500 ? "unavailable" : "failed_precondition");
  const said = await reasonOf(answer);
  const text = `${answer.url.host} answered ${answer.status}${said === undefined ? "" : ` (${said})`}`;
  const cure = advice ?? (answer.status === 429 ? "it limits how much may be asked of it: wait, or log in" : undefined);
  return new Failure(code, `${action}: ${text}${cure === undefined ? "" : `: ${cure}`}`, {
    details: { status: answer.status, registry: answer.url.host },
  });
}

async function reasonOf(answer: Answer): Promise<string | undefined> {
  try {
    const text = new TextDecoder().decode(await answer.bytes(maxBodyBytes));
    if (answer.headers.get("content-type")?.startsWith("text/plain")) return printable(text) || undefined;
    // Go's servers say this, without a type, to who speaks http where https is meant.
    if (text.includes("HTTP request to an HTTPS server")) return "it wants https";
    const value: unknown = JSON.parse(text);
    const registry = v.safeParse(ErrorBody, value);
    if (registry.success) {
      return registry.output.errors.slice(0, maxErrors)
        .map(({ code, message }) => printable([code, message].filter((text) => text).join(": "))).join("; ");
    }
    const token = v.safeParse(TokenErrorBody, value);
    if (!token.success) return undefined;
    const said = token.output;
    if ("error" in said) return printable([said.error, said.error_description].filter((text) => text).join(": "));
    return printable("details" in said ? said.details : said.message);
  } catch {
    // An error page, an endless body, or no body: the status has to do.
    return undefined;
  }
}

/** One line of what a stranger wrote, without what steers a terminal or turns the text around. */
export function printable(text: string): string {
  const line = text.replace(/[\p{C}\p{Z}]+/gu, " ").trim();
  return line.length > maxTextLength ? `${line.slice(0, maxTextLength)}…` : line;
}
