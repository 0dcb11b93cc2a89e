import { Failure } from "../../core/errors.ts";
import { NameSchema } from "../../core/function.ts";
import { functionArn } from "../../functions/lambda/arn.ts";
import { parse } from "../../core/parse.ts";

/** What a client of AWS Lambda calls a function. */
export interface LambdaTarget {
  readonly namespace: string;
  readonly name: string;
  /** A revision's number or a tag, as AWS has versions and aliases; undefined for none, and for `$LATEST`. */
  readonly qualifier: string | undefined;
}

/** What stands for the newest in place of a version's number. */
export const latestVersion = "$LATEST";

/**
 * Takes a function's name apart: `name`, `name:qualifier`, `123456789012:function:name` or an ARN. Of the last two, region
 * and account say nothing here. A function of another namespace than `default` is `name.namespace`, as below `/fn/`.
 *
 * @param qualifier what stands in the query.
 * @throws invalid_argument.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestSyntax
 */
export function parseTarget(text: string, qualifier?: string): LambdaTarget {
  const action = `cannot read the function name ${JSON.stringify(text.slice(0, 256))}`;
  const parts = text.split(":");
  const [, , own, ...rest] = parts[0] === "arn" ? parts.slice(4) : parts[1] === "function" ? parts : ["", "", ...parts];
  const [inName, ...more] = rest;
  if (own === undefined || more.length > 0) {
    throw new Failure("invalid_argument", `${action}: wanted a name, name:qualifier, or an ARN of a function`);
  }
  if (inName !== undefined && qualifier !== undefined && inName !== qualifier) {
    throw new Failure(
      "invalid_argument",
      "The derived qualifier from the function name does not match the specified qualifier.",
    );
  }
  const asked = inName ?? qualifier;
  const dot = own.indexOf(".");
  return {
    name: parse(NameSchema, dot < 0 ? own : own.slice(0, dot), action),
    namespace: dot < 0 ? "default" : parse(NameSchema, own.slice(dot + 1), `${action}: namespace`),
    qualifier: asked === latestVersion ? undefined : asked,
  };
}

/**
 * The ARN of a function. The region is the one that the client has signed for, so that it finds its own again; the account is
 * none.
 */
export function arnOf(target: Pick<LambdaTarget, "namespace" | "name">, headers: Headers, qualifier?: string): string {
  const scope = /Credential=[^/,\s]+\/\d{8}\/([a-z0-9-]{1,32})\//.exec(headers.get("authorization") ?? "");
  const arn = functionArn(target, scope?.[1]);
  return qualifier === undefined ? arn : `${arn}:${qualifier}`;
}

/** The newest alone can be changed. @throws invalid_argument for any other. */
export function requireLatest(target: LambdaTarget, headers: Headers): void {
  if (target.qualifier === undefined) return;
  throw new Failure(
    "invalid_argument",
    `cannot change ${arnOf(target, headers, target.qualifier)}: a version stays as it is, wanted ${latestVersion}`,
  );
}
