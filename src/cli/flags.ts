import { Failure } from "../core/errors.ts";
import { type Flag, type FlagValues, text as textOf } from "./command.ts";

/** The flag of commands that work in a namespace. */
export const namespaceFlag: Readonly<Record<string, Flag>> = {
  namespace: {
    type: "string",
    short: "n",
    value: "name",
    help: "the tenant's partition to work in (default: default)",
  },
};

/** The part of a query that `namespaceFlag` describes. */
export function scope(flags: FlagValues): { readonly namespace: string | undefined } {
  return { namespace: textOf(flags, "namespace") };
}

/** `256m` → 268435456. Units are binary: k, m, g, t. @throws invalid_argument. */
export function byteCount(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text);
  if (match === null) throw wrong(flag, text, "a size as 64m or 1g");
  return Math.round(Number(match[1]) * 1024 ** ["", "k", "m", "g", "t"].indexOf((match[2] ?? "").toLowerCase()));
}

/** `1.5s`, `200ms`, `2m`, `30d` → milliseconds; a bare number counts seconds. @throws invalid_argument. */
export function milliseconds(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  if (match === null) throw wrong(flag, text, "a time as 500ms, 30s or 5m");
  return Math.round(
    Number(match[1]) *
      { ms: 1, s: 1000, m: 60_000, h: 3600_000, d: 24 * 3600_000 }[(match[2] ?? "s") as "ms" | "s" | "m" | "h" | "d"],
  );
}

/** @throws invalid_argument. */
export function number(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw wrong(flag, text, "a number");
  return value;
}

/** `["A=1", "B=2"]` → `{ A: "1", B: "2" }`. @throws invalid_argument. */
export function pairs(flag: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw wrong(flag, text, "NAME=value");
    return [text.slice(0, at), text.slice(at + 1)];
  }));
}

function wrong(flag: string, text: string, wanted: string): Failure {
  return new Failure("invalid_argument", `--${flag} is ${JSON.stringify(text)}, wanted ${wanted}`);
}
