import { Hono } from "hono";
import * as v from "valibot";
import { ContainerResourcesSchema } from "../core/container.ts";
import { ExecInputSchema } from "../core/exec.ts";
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
import type { ApiParts } from "./parts.ts";
import { statsLines } from "./stats_lines.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
/** A process that was added; without one, init is meant. */
const processField = v.optional(v.pipe(v.string(), v.check(isContainerId, "a process's id")));

/** `/v1/tasks`: what runs now, in containerd's words: containers' tasks, and functions' instances. */
export function taskRoutes({ tasks, containers, events, closing }: ApiParts) {
  return new Hono()
    .get("/", scope, async (c) => c.json({ items: await tasks.list(c.req.valid("query").namespace) }))
    .get("/:id", scope, async (c) => c.json(await tasks.get(c.req.valid("query").namespace, c.req.param("id"))))
    .delete("/:id", query(v.strictObject({ namespace: namespaceField, process: processField })), async (c) => {
      const { namespace, process } = c.req.valid("query");
      const { task } = tasks.load(namespace, c.req.param("id"));
      const exit = await (process === undefined ? task : processOf(task, process)).delete();
      return c.json({ exit });
    })
    .patch(
      "/:id",
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
    .post("/:id/pause", scope, async (c) => {
      await demand(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task, "pause").pause();
      return c.body(null, 204);
    })
    .post("/:id/resume", scope, async (c) => {
      await demand(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task, "pause").resume();
      return c.body(null, 204);
    })
    .post("/:id/wait", query(v.strictObject({ namespace: namespaceField, process: processField })), async (c) => {
      const { namespace, process } = c.req.valid("query");
      const { task } = tasks.load(namespace, c.req.param("id"));
      const one = process === undefined ? task : processOf(task, process);
      const { code, signal, exitedAt } = await unlessAborted(one.wait(), c.req.raw.signal);
      return c.json({ exitStatus: code, signal, exitedAt });
    })
    .get("/:id/stats", scope, async (c) => {
      const { task } = tasks.load(c.req.valid("query").namespace, c.req.param("id"));
      return c.json(await demand(task, "stats").stats());
    })
    .get("/:id/stats/stream", scope, (c) => {
      return statsLines(tasks.load(c.req.valid("query").namespace, c.req.param("id")).task);
    })
    .get("/:id/processes", scope, async (c) => {
      const { task } = tasks.load(c.req.valid("query").namespace, c.req.param("id"));
      const added = new Map(can(task, "exec") ? task.processes().map(({ pid, id }) => [pid, id]) : []);
      const processes = await containers.processesOf(task);
      return c.json({ items: processes.map((one) => ({ ...one, execId: added.get(one.pid) })) });
    })
    // One more process: body → its stdin; stdout, stderr and the result come back as frames.
    .post(
      "/:id/exec",
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
    .post("/:id/processes", scope, json(ExecInputSchema), async (c) => {
      const added = await tasks.exec(c.req.valid("query").namespace, c.req.param("id"), c.req.valid("json"), {
        stdin: false,
        stdout: false,
        stderr: false,
      });
      return c.json({ id: added.id, pid: added.pid }, 201);
    })
    .get("/:id/events", scope, (c) => {
      const { namespace } = c.req.valid("query");
      const { task } = tasks.load(namespace, c.req.param("id"));
      return eventStream(events, { namespace, containers: [task.id], topics: ["/tasks/"] }, {
        after: undefined,
        closing,
      });
    });
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
