import { requireScope } from "../core/access.ts";
import type { FunctionRecord } from "../core/function.ts";
import type { InvocationRequest } from "./request.ts";

/** Where callers put their tokens. */
const credentials = ["authorization", "x-amz-security-token"] as const;

/** @throws unauthenticated; permission_denied to who may not call the function. */
export async function requireCaller(
  { namespace, name }: Pick<FunctionRecord, "namespace" | "name">,
  identify: InvocationRequest["identify"],
): Promise<void> {
  requireScope(await identify(), "invoke", namespace, `call function ${JSON.stringify(name)}`);
}

/**
 * Lets a request to a function through where its caller may call it.
 * @returns the request, without what shows who asks: a function is not to have its callers' tokens.
 * @throws unauthenticated; permission_denied.
 */
export async function entitled(
  record: Pick<FunctionRecord, "namespace" | "name" | "auth">,
  request: InvocationRequest,
): Promise<InvocationRequest> {
  await requireCaller(record, request.identify);
  const headers = new Headers(request.headers);
  for (const name of credentials) headers.delete(name);
  return { ...request, headers };
}
