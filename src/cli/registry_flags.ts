import { readFileSync } from "node:fs";
import { Failure } from "../core/errors.ts";
import { type Flag, type FlagValues, text } from "./command.ts";

/** How to reach a registry, for the commands that do. */
export const registryFlags: Readonly<Record<string, Flag>> = {
  username: { type: "string", short: "u", value: "name", help: "in place of what Docker's config.json says" },
  "password-stdin": { type: "boolean", help: "read the password from standard input" },
  "plain-http": { type: "boolean", help: "http in place of https" },
};

/** @throws invalid_argument for a name without a password. */
export function credentials(flags: FlagValues): {
  readonly credentials?: { readonly username: string; readonly password: string };
  readonly plainHttp?: boolean;
} {
  const username = text(flags, "username");
  if (username !== undefined && flags["password-stdin"] !== true) {
    throw new Failure(
      "invalid_argument",
      "--username wants --password-stdin: a password on the command line is seen by everybody",
    );
  }
  return {
    ...(flags["plain-http"] === true ? { plainHttp: true } : {}),
    ...(username === undefined
      ? {}
      : { credentials: { username, password: readFileSync(0, "utf8").replace(/\r?\n$/, "") } }),
  };
}
