import { Hono } from "hono";
import * as v from "valibot";
import { ContainerResourcesSchema } from "../core/container.ts";
import { ExecInputSchema, TerminalSizeSchema } from "../core/exec.ts";
import { isContainerId } from "../core/container_id.ts";
import { Failure } from "../core/errors.ts";
import { parseSignal } from "../core/signal.ts";
import { can, demand, type Process, type Task } from "../core/task.ts";
import { unlessAborted } from "../core/unless_aborted.ts";
import { limitsOf } from "../tasks/spec.ts";
import { killSoon } from "../tasks/kill_soon.ts";
import { eventStream } from "./events.ts";
import { framedAnswer } from "./framed_answer.ts";
import { flagField, json, namespaceField, query, settingsField, signalField } from "./input.ts";
import {
  ExecAnswer,
  itemsOf,
  ProcessAnswer,
  StatsAnswer,
  TaskAnswer,
  TaskDeleteAnswer,
  TaskWaitAnswer,
} from "./answers.ts";
import { documented } from "./documented.ts";
import { frameType } from "../core/stdio_frames.ts";
import { jsonLinesType } from "./json_lines.ts";
import type { ApiParts } from "./parts.ts";
import { statsLines } from "./stats_lines.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
/** A process that was added; without one, init is meant. */
const processField = v.optional(v.pipe(v.string(), v.check(isContainerId, "a process's id")));

/** `/v1/tasks`: what runs now, in containerd's words: containers' tasks, and functions' instances. */
export function taskRoutes({ tasks, containers, events, closing }: ApiParts) {
  return new Hono()
    .get(
      "/",
      documented("Lists tasks.", { 200: itemsOf(TaskAnswer) }),
      scope,
      async (c) => c.json({ items: await tasks.list(c.req.valid("query").namespace) }),
    )
    .get(
      "/:id",
      documented("Shows a task.", { 200: TaskAnswer }),
      scope,
      async (c) => c.json(await tasks.get(c.req.valid("query").namespace, c.req.param("id"))),
    )
    .delete(
      "/:id",
      documented("Kills and deletes a task, or a process that was added to it.", { 200: TaskDeleteAnswer }, {
        problems: ["unimplemented"],
      }),
      query(v.strictObject({ namespace: namespaceField, process: processField })),
      async (c) => {
        const { namespace, process } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        const exit = await (process === undefined ? task : processOf(task, process)).delete();
        return c.json({ exit });
      },
    )
    .patch(
      "/:id",
      documented("Changes the limits of a task.", { 204: null }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      json(v.strictObject({ resources: ContainerResourcesSchema })),
      async (c) => {
        const { task } = tasks.load(c.req.valid("query").namespace, c.req.param("id"));
        await demand(task, "update").update(limitsOf(c.req.valid("json").resources));
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/kill",
      documented("Signals a task's init, all of its processes, or one that was added.", { 204: null }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      query(v.strictObject({
        namespace: namespaceField,
        signal: signalField,
        all: flagField,
        process: processField,
      })),
      async (c) => {
        const { namespace, signal = "SIGKILL", all, process } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        const number = parseSignal(signal);
        if (process === undefined) await task.kill(number, { all });
        else await processOf(task, process).kill(number);
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/pause",
      documented("Freezes a task.", { 204: null }, { problems: ["failed_precondition", "unimplemented"] }),
      scope,
      async (c) => {
        await demand(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task, "pause").pause();
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/resume",
      documented("Thaws a task.", { 204: null }, { problems: ["failed_precondition", "unimplemented"] }),
      scope,
      async (c) => {
        await demand(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task, "pause").resume();
        return c.body(null, 204);
      },
    )
    .post(
      "/:id/wait",
      documented("Waits for the end of a task, or of a process that was added.", { 200: TaskWaitAnswer }, {
        problems: ["failed_precondition", "unimplemented", "aborted"],
      }),
      query(v.strictObject({ namespace: namespaceField, process: processField })),
      async (c) => {
        const { namespace, process } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        const one = process === undefined ? task : processOf(task, process);
        const { code, signal, exitedAt } = await unlessAborted(one.wait(), c.req.raw.signal);
        return c.json({ exitStatus: code, signal, exitedAt });
      },
    )
    .get(
      "/:id/stats",
      documented("Tells what a task uses now.", { 200: StatsAnswer }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        const { task } = tasks.load(c.req.valid("query").namespace, c.req.param("id"));
        return c.json(await demand(task, "stats").stats());
      },
    )
    .get(
      "/:id/stats/stream",
      documented("Tells what a task uses, each second, until it ends.", { 200: jsonLinesType }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      (c) => {
        return statsLines(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task);
      },
    )
    .get(
      "/:id/processes",
      documented("Lists a task's processes, with their command lines.", { 200: itemsOf(ProcessAnswer) }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      scope,
      async (c) => {
        const { task } = tasks.load(c.req.valid("query").namespace, c.req.param("id"));
        const added = new Map(can(task, "exec") ? task.processes().map(({ pid, id }) => [pid, id]) : []);
        const processes = await containers.processesOf(task);
        return c.json({ items: processes.map((one) => ({ ...one, execId: added.get(one.pid) })) });
      },
    )
    .post(
      "/:id/resize",
      documented("Resizes the terminal of a task, or of a process that was added.", { 204: null }, {
        problems: ["failed_precondition", "unimplemented"],
      }),
      query(v.strictObject({ namespace: namespaceField, process: processField })),
      json(TerminalSizeSchema),
      async (c) => {
        const { namespace, process } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        await demand(process === undefined ? task : processOf(task, process), "resize").resize(c.req.valid("json"));
        return c.body(null, 204);
      },
    )
    // One more process: body → its stdin; stdout, stderr and the result come back as frames.
    .post(
      "/:id/exec",
      documented("Runs one more process: the body is its stdin, frames carry its output and its end.", {
        200: frameType,
      }, {
        body: "application/octet-stream",
        jsonQuery: { settings: ExecInputSchema },
        problems: ["failed_precondition", "already_exists", "unimplemented", "resource_exhausted"],
      }),
      query(v.strictObject({ namespace: namespaceField, settings: settingsField })),
      async (c) => {
        const { namespace, settings } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        const framed = framedAnswer(c.req.raw);
        framed.signal.throwIfAborted();
        const added = await tasks.exec(namespace, task.id, settings, { stdin: c.req.raw.body !== null });
        return framed.answer(
          seeOff(added, framed.carry({ stdin: added.stdin, ...tasks.output(task, added) }), framed.signal),
        );
      },
    )
    // One more process, that goes on by itself; its output goes nowhere.
    .post(
      "/:id/processes",
      documented("Runs one more process that goes on by itself.", { 201: ExecAnswer }, {
        problems: ["failed_precondition", "already_exists", "unimplemented", "resource_exhausted"],
      }),
      scope,
      json(ExecInputSchema),
      async (c) => {
        const added = await tasks.exec(c.req.valid("query").namespace, c.req.param("id"), c.req.valid("json"), {
          stdin: false,
          stdout: false,
          stderr: false,
        });
        return c.json({ id: added.id, pid: added.pid }, 201);
      },
    )
    .get(
      "/:id/events",
      documented("Tells what happens to a task from here on, until it is deleted, as server-sent events.", {
        200: "text/event-stream",
      }),
      scope,
      (c) => {
        const { namespace } = c.req.valid("query");
        const { task } = tasks.load(namespace, c.req.param("id"));
        return eventStream(events, { namespace, containers: [task.id], topics: ["/tasks/"] }, {
          after: undefined,
          closing,
          isLast: ({ topic }) => topic === "/tasks/delete",
        });
      },
    );
}

/** @throws not_found; unimplemented where its runtime runs no more processes. */
function processOf(task: Task, id: string): Process {
  const process = demand(task, "exec").processes().find((candidate) => candidate.id === id);
  if (process !== undefined) return process;
  throw new Failure("not_found", `task ${JSON.stringify(task.id)} has no process ${JSON.stringify(id)}`);
}

/** Waits for a process and the end of its output, and deletes it. @param signal kills it. */
async function seeOff(
  process: Process,
  carried: Promise<void>,
  signal: AbortSignal,
): Promise<{ readonly code: number }> {
  const kill = () => killSoon(process);
  signal.addEventListener("abort", kill);
  if (signal.aborted) kill();
  try {
    const [{ code }] = await Promise.all([process.wait(), carried]);
    return { code };
  } finally {
    signal.removeEventListener("abort", kill);
    await process.delete();
  }
}
