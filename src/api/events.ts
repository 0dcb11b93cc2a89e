import { Hono } from "hono";
import * as v from "valibot";
import { type Event, type EventId, type Events, formatEventId, parseEventId } from "../core/event.ts";
import { NameSchema } from "../core/function.ts";
import { parse } from "../core/parse.ts";
import { labelsField, query, textsField } from "./input.ts";
import { hasLabels } from "../tasks/labels.ts";
import { documented } from "./documented.ts";
import type { ApiParts } from "./parts.ts";

/** Between two signs of life on a connection with nothing to tell. */
const heartbeatMs = 15_000;
/** As much waits for a client that reads slowly; the rest waits where events are kept. */
const waitingBytes = 64 * 1024;
/** How many events are looked at in one go. */
const batch = 256;

const EventIdSchema = v.pipe(
  v.string(),
  v.maxLength(64),
  v.check((text) => parseEventId(text) !== undefined, "an event's id, as 3-141"),
  v.transform((text) => parseEventId(text) as EventId),
);

export interface EventFilter {
  /** What topics begin with, one of them. Default all. */
  readonly topics?: readonly string[];
  readonly namespace?: string | undefined;
  readonly containers?: readonly string[];
  readonly labels?: readonly string[];
}

const filterFields = {
  namespace: v.optional(NameSchema),
  topic: textsField(256),
  container: textsField(128),
  label: labelsField,
  since: v.optional(EventIdSchema),
};

/** `/v1/events`: what happens, as server-sent events. */
export function eventRoutes({ events, closing }: ApiParts) {
  return new Hono()
    .get(
      "/",
      documented("Tells what happens, as server-sent events; goes on behind an event where its id is given.", {
        200: "text/event-stream",
      }, { headers: { "last-event-id": "As `since`, from a browser that comes back." } }),
      query(v.strictObject(filterFields)),
      (c) => {
        const { namespace, topic, container, label, since } = c.req.valid("query");
        const header = c.req.header("last-event-id");
        // What a browser sends when it comes back says more than the address that it began with.
        const after = header === undefined || header === ""
          ? since
          : parse(EventIdSchema, header, "cannot read the header Last-Event-ID");
        const filter = { namespace, topics: topic, containers: container, labels: label };
        return eventStream(events, filter, { after, closing });
      },
    );
}

export interface EventStreamOptions {
  readonly after: EventId | undefined;
  /** Ends the answer. */
  readonly closing: AbortSignal;
  /** Behind which event the answer ends. */
  readonly isLast?: (event: Event) => boolean;
}

/**
 * An answer of server-sent events: what is kept behind `after`, then what happens. Where some of it is kept no more, an
 * event `gap` says so first. A client that falls so far behind that something would be left out is cut.
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function eventStream(
  events: Events,
  filter: EventFilter,
  { after, closing, isLast = () => false }: EventStreamOptions,
): Response {
  const encoder = new TextEncoder();
  let end = () => {};
  let advance = () => {};
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      let at = after ?? events.last;
      let first = true;
      const write = (text: string) => controller.enqueue(encoder.encode(text));
      // Blocks without data move a client's last id on without an event.
      const sign = () => write(`: here\nid: ${formatEventId(at)}\n\n`);
      advance = () => {
        while ((controller.desiredSize ?? 0) > 0) {
          const past = events.since(at, batch);
          if (past.gap && !first) return cut(new Error("the client reads too slowly"));
          if (past.gap) write(gapBlock(at, past.events[0]?.id));
          first = false;
          at = past.last;
          const fitting = past.events.filter((event) => fits(event, filter));
          const last = fitting.findIndex(isLast);
          const told = last < 0 ? fitting : fitting.slice(0, last + 1);
          if (told.length > 0) write(told.map(block).join(""));
          if (last >= 0) return close();
          if (past.events.length < batch) return;
        }
        // What it has not read is kept, up to a point.
        if (!first && events.since(at, 0).gap) cut(new Error("the client reads too slowly"));
      };
      const stop = events.subscribe("", () => advance());
      const timer = setInterval(() => (controller.desiredSize ?? 0) > 0 && sign(), heartbeatMs);
      const close = () => {
        end();
        controller.close();
      };
      closing.addEventListener("abort", close);
      end = () => {
        stop();
        clearInterval(timer);
        closing.removeEventListener("abort", close);
      };
      const cut = (error: Error) => {
        end();
        controller.error(error);
      };
      sign();
      advance();
    },
    pull: () => advance(),
    cancel: () => end(),
  }, new ByteLengthQueuingStrategy({ highWaterMark: waitingBytes }));
  return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store" } });
}

/** Whether somebody who asks for some events is told of one. */
export function fits({ topic, namespace, data }: Event, filter: EventFilter): boolean {
  const { topics = [], containers = [], labels = [] } = filter;
  return (filter.namespace === undefined || filter.namespace === namespace) &&
    (topics.length === 0 || topics.some((prefix) => topic.startsWith(prefix))) &&
    (containers.length === 0 || containers.includes(data.containerId ?? "")) &&
    hasLabels(data.labels ?? {}, labels);
}

function block({ id, ...event }: Event): string {
  const text = formatEventId(id);
  return `id: ${text}\ndata: ${JSON.stringify({ id: text, ...event })}\n\n`;
}

function gapBlock(after: EventId, oldest: EventId | undefined): string {
  const data = { after: formatEventId(after), ...(oldest && { oldest: formatEventId(oldest) }) };
  return `event: gap\ndata: ${JSON.stringify(data)}\n\n`;
}
