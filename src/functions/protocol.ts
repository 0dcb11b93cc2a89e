import type { FunctionRecord } from "../core/function.ts";
import type { TraceContext } from "../core/monitor.ts";
import type { Process, Task } from "../core/task.ts";
import type { WebSocketConnection } from "../core/web_socket.ts";
import type { InvocationRequest } from "./request.ts";

/** How the daemon speaks with containers that serve many requests. */
export interface Protocol {
  /**
   * Variables that a container gets beside those of its image and its function, which they replace.
   * @param own what it has of its own.
   */
  environment(record: FunctionRecord, own: OwnEnvironment): Readonly<Record<string, string>>;
  /** How many requests one container takes at once. */
  concurrency(record: FunctionRecord): number;
  /** How long a container has from SIGTERM to SIGKILL. */
  stopGraceMs(record: FunctionRecord): number;
  /**
   * Takes hold of a container that is made, and not started yet.
   * @param beside for what runs in it beside its own process, once that has been executed.
   * @throws what keeps it from being reached.
   */
  attach(task: Task, record: FunctionRecord, beside: Beside): Server;
}

/** What runs in a container beside its own process. */
export interface Beside {
  /** The names of what is in a folder, as the container sees it, without folders; none where there is no such folder. */
  files(folder: string): readonly string[];
  /** Starts a program; what it writes is logged as the container's. It ends with the container. @throws as `Tasks.exec`. */
  run(command: readonly string[]): Promise<Process>;
  /** The command of the container's own process. */
  readonly args: readonly string[];
}

/** What the image and the function say of a container's process. */
export interface OwnEnvironment {
  readonly env: ReadonlyMap<string, string>;
  readonly args: readonly string[];
}

/** One container, as its protocol reaches it. Disposed of when the container has ended. */
export interface Server extends Disposable {
  /**
   * Resolves when it can take requests. Called once, as the container's process was executed.
   * @param signal aborted at the limit of its start, and when the container has ended.
   * @throws what is wrong, where it never will be ready; the signal's reason.
   */
  ready(signal: AbortSignal): Promise<void>;
  /** What `ready` waits for, as a message goes on. */
  readonly wanted: string;
  /** Whether it takes no more requests behind those that it has. */
  readonly spent?: boolean;
  /**
   * Has one request answered.
   * @throws a failure of `failures.ts`; the signal's reason.
   */
  answer(call: ServerCall): Promise<ServerAnswer>;
  /** Has what runs beside the container's own process come to its end, before that is asked to. Never rejects, nor takes long. */
  finish?(): Promise<void>;
}

/** One request to a container. */
export interface ServerCall {
  /** The invocation's. */
  readonly id: string;
  readonly request: InvocationRequest;
  readonly trace: TraceContext | undefined;
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
  /** Told where the request's body goes; undefined where it has none. Limits are kept and bytes counted there. */
  readonly carry: ((sink: WritableStream<Uint8Array>) => void) | undefined;
  /** Aborted when the answer is not wanted any more, or cannot come: cuts it wherever it is. */
  readonly signal: AbortSignal;
}

export interface ServerAnswer {
  /** 200 to 599; 101 where the caller asked for a WebSocket, and there is one. */
  readonly status: number;
  /** Those that go to the caller. */
  readonly headers: Headers;
  /** The container is busy with the request until this has ended. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer> | null;
  /** The container's end of the WebSocket; text comes as `TextMessage`. The container is busy until it is closed. */
  readonly socket?: WebSocketConnection;
}
