/** The composition root of a thread that unpacks layers, or does a part of it, one at a time, as it is told. */
import { parentPort } from "node:worker_threads";
import { codeOf, Failure, messageOf } from "./core/errors.ts";
import { currentHost } from "./host/mod.ts";
import { nativeInflaters } from "./images/native_inflate.ts";
import { Ring, RingStopped } from "./images/ring.ts";
import { runInflating, runJob, runWriting } from "./images/unpack_job.ts";
import type { FailedWith, UnpackReply, UnpackRequest } from "./images/unpack_threads.ts";
import { Kernel } from "./linux/kernel.ts";

/** How often it says how far it is at most, in milliseconds. */
const everyMs = 50;

const parts = { whole: runJob, inflating: runInflating, writing: runWriting } as const;

const host = await currentHost();
const context = { kernel: new Kernel(host), inflaters: nativeInflaters(host) };
const say = (reply: UnpackReply) => parentPort?.postMessage(reply);

parentPort?.on("message", async ({ job, part, shared }: UnpackRequest) => {
  const ring = new Ring(shared);
  let told = 0;
  const onRead = (bytes: number) => {
    const now = performance.now();
    if (now - told < everyMs) return;
    told = now;
    say({ kind: "read", bytes });
  };
  try {
    await parts[part](job, ring, { ...context, onRead });
    say({ kind: "done" });
  } catch (error) {
    // The other thread's part is of no use any more.
    ring.stop();
    say(error instanceof RingStopped ? { kind: "stopped" } : { kind: "failed", error: plain(error) });
  }
});
say({ kind: "ready" });

function plain(error: unknown): FailedWith {
  const { syscall, errno, details } = error instanceof Failure ? error : {};
  return { code: codeOf(error), message: messageOf(error), syscall, errno, details };
}
