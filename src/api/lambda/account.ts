import type { Context } from "hono";
import type { ApiEnv } from "../observe_requests.ts";
import type { ApiParts } from "../parts.ts";
import type { Managed } from "./managed.ts";

/** The most that AWS Lambda's code packages may have: images are not counted by them. */
const codeBytes = { TotalCodeSize: 80_530_636_800, CodeSizeUnzipped: 262_144_000, CodeSizeZipped: 52_428_800 } as const;

/**
 * `GET /2016-08-19/account-settings`: what there is room for, and how many functions there are.
 * @see https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html
 */
export function accountRoute(
  { functions }: Pick<ApiParts, "functions">,
  managed: Managed,
): (c: Context<ApiEnv>) => Promise<Response> {
  return async (c) => {
    await managed.allow(c, "read", { namespace: "default" });
    const { all, kept } = functions.places;
    return c.json({
      AccountLimit: { ...codeBytes, ConcurrentExecutions: all, UnreservedConcurrentExecutions: all - kept },
      AccountUsage: { TotalCodeSize: 0, FunctionCount: (await functions.list("default")).length },
    });
  };
}
