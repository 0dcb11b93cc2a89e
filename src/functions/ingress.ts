import { requireScope } from "../core/access.ts";
import type { FunctionRecord } from "../core/function.ts";
import { Rates } from "../core/rate.ts";
import type { InvocationRequest } from "./request.ts";

/** Where callers put their tokens. */
const credentials = ["authorization", "x-amz-security-token"] as const;

/** What a function says of who may call it, and how often. */
type Guarded = Pick<FunctionRecord, "namespace" | "name" | "auth" | "rate">;

/** @throws unauthenticated; permission_denied to who may not call the function. */
export async function requireCaller(
  { namespace, name }: Pick<Guarded, "namespace" | "name">,
  identify: InvocationRequest["identify"],
): Promise<void> {
  requireScope(await identify(), "invoke", namespace, `call function ${JSON.stringify(name)}`);
}

/** Lets requests through to functions. */
export class Ingress {
  readonly #rates = new Rates();

  /**
   * @returns the request, where its function asks for a token without what shows it: it is not to have its callers' tokens.
   * @throws unauthenticated; permission_denied; resource_exhausted where it comes too often.
   */
  async admit(record: Guarded, request: InvocationRequest): Promise<InvocationRequest> {
    if (request.accepted === true) return request;
    // Revisions of other rates have others of their own. Who may not call it takes nothing of its rate.
    if (record.auth !== "none") await requireCaller(record, request.identify);
    const state = this.#rates.take(
      `${keyOf(record)}${record.rate}`,
      record.rate,
      `function ${JSON.stringify(record.name)}`,
    );
    if (state !== undefined) request.onRate?.(state);
    if (record.auth === "none") return request;
    const headers = new Headers(request.headers);
    for (const name of credentials) headers.delete(name);
    return { ...request, headers };
  }

  /** Counts a function's requests no more. */
  forget(record: Pick<Guarded, "namespace" | "name">): void {
    this.#rates.forget(keyOf(record));
  }
}

function keyOf({ namespace, name }: Pick<Guarded, "namespace" | "name">): string {
  return `${namespace}/${name}/`;
}
