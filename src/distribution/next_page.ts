import type { Answer } from "./answer.ts";
import { redirected } from "./redirect.ts";

/**
 * Where a list goes on that a registry gives in pages.
 * @returns undefined where this was its last page.
 * @throws permission_denied as for a redirect: whoever answers must not send anybody anywhere.
 * @see https://www.rfc-editor.org/rfc/rfc8288#section-3
 */
export function nextPage({ headers, url }: Pick<Answer, "headers" | "url">): URL | undefined {
  for (const link of (headers.get("link") ?? "").split(/,(?=\s*<)/)) {
    const [, target, parameters = ""] = /^\s*<([^>]*)>(.*)$/.exec(link) ?? [];
    if (target === undefined) continue;
    const [, quoted, bare] = /;\s*rel\s*=\s*(?:"([^"]*)"|([^\s;"]+))/i.exec(parameters) ?? [];
    const relations = (quoted ?? bare ?? "").toLowerCase().split(/\s+/);
    if (relations.includes("next")) return redirected(url, target);
  }
  return undefined;
}
