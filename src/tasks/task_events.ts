import type { EventData } from "../core/event.ts";
import type { TaskEvent } from "../core/runtime.ts";
import type { ProcessExit } from "../core/task.ts";

/** What a runtime tells of a task, as the event `/tasks/<type>` has it. */
export function taskEventData(event: TaskEvent): EventData {
  const containerId = event.id;
  switch (event.type) {
    case "create":
    case "start":
      return { containerId, pid: event.pid };
    case "exit":
      return {
        containerId,
        ...(event.process === undefined ? {} : { execId: event.process }),
        pid: event.pid,
        ...exitData(event.exit),
      };
    case "exec-added":
      return { containerId, execId: event.process };
    case "exec-started":
      return { containerId, execId: event.process, pid: event.pid };
    case "delete":
      return event.exit === undefined ? { containerId } : { containerId, ...exitData(event.exit) };
    case "oom":
    case "paused":
    case "resumed":
    case "checkpointed":
      return { containerId };
  }
}

function exitData({ code, exitedAt }: ProcessExit): EventData {
  return { exitStatus: code, exitedAt };
}
