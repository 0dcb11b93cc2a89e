/** The composition root of a thread that unpacks layers, one at a time, as it is told. */
import { parentPort } from "node:worker_threads";
import { codeOf, Failure, messageOf } from "./core/errors.ts";
import { currentHost } from "./host/mod.ts";
import { nativeInflaters } from "./images/native_inflate.ts";
import { runJob } from "./images/unpack_job.ts";
import type { FailedWith, UnpackReply, UnpackRequest } from "./images/unpack_threads.ts";
import { Kernel } from "./linux/kernel.ts";

/** How often it says how far it is at most, in milliseconds. */
const everyMs = 50;

const host = await currentHost();
const context = { kernel: new Kernel(host), inflaters: nativeInflaters(host) };
const say = (reply: UnpackReply) => parentPort?.postMessage(reply);

parentPort?.on("message", async ({ job, aborted }: UnpackRequest) => {
  const stop = new Int32Array(aborted);
  let told = 0;
  try {
    await runJob(job, {
      ...context,
      check() {
        if (Atomics.load(stop, 0) !== 0) {
          throw new Failure("aborted", "cannot unpack the layer: nobody wants it any more");
        }
      },
      onRead(bytes) {
        const now = performance.now();
        if (now - told < everyMs) return;
        told = now;
        say({ kind: "read", bytes });
      },
    });
    say({ kind: "done" });
  } catch (error) {
    say({ kind: "failed", error: plain(error) });
  }
});
say({ kind: "ready" });

function plain(error: unknown): FailedWith {
  const { syscall, errno, details } = error instanceof Failure ? error : {};
  return { code: codeOf(error), message: messageOf(error), syscall, errno, details };
}
