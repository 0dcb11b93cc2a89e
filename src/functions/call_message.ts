import * as v from "valibot";
import { type AcceptedCall, CallRequestSchema } from "../core/call.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";
import type { QueueMessage } from "../core/queue.ts";

/** The first line of a message; what follows is the body. Migrations write it, too. */
const HeadSchema = v.object({
  id: v.string(),
  namespace: v.string(),
  function: v.string(),
  createdAt: v.pipe(v.number(), v.transform((ms) => new Date(ms))),
  callback: v.nullish(v.string()),
  hasBody: v.boolean(),
  request: CallRequestSchema,
});

const newline = 10;

/** Its id is another one for each replay: a queue may know ids of what is done for a while. */
export function toMessage({ body, createdAt, ...call }: AcceptedCall): QueueMessage {
  const head = { ...call, createdAt: createdAt.getTime(), hasBody: body !== undefined };
  const line = new TextEncoder().encode(`${JSON.stringify(head)}\n`);
  const data = new Uint8Array(line.length + (body?.length ?? 0));
  data.set(line);
  if (body !== undefined) data.set(body, line.length);
  const { id, namespace, function: name } = call;
  return { id: `${id}.${createdAt.getTime()}`, namespace, name, data };
}

/** @throws invalid_argument for what no daemon of this version or an earlier one has written. */
export function fromMessage({ id, data }: QueueMessage): AcceptedCall {
  const action = `cannot read message ${JSON.stringify(id)} of the queue`;
  const end = data.indexOf(newline);
  let head: unknown;
  try {
    head = JSON.parse(new TextDecoder().decode(data.subarray(0, Math.max(end, 0))));
  } catch (cause) {
    throw new Failure("invalid_argument", `${action}: its first line is no JSON`, { cause });
  }
  const { hasBody, callback, ...call } = parse(HeadSchema, head, action);
  return { ...call, callback: callback ?? undefined, body: hasBody ? data.slice(end + 1) : undefined };
}
