import type { Command, DaemonHandle } from "./command.ts";
import { daemonAt, socketPath } from "./connection.ts";
import { reachOrOpen } from "./reach_or_open.ts";

/** How long it waits for a command that works in its own process: a pull, for example. */
const patienceMs = 60_000;

export const serve: Command = {
  name: "serve",
  summary: "run the daemon",
  usage: "serve [options]",
  examples: ["mayfly serve --listen 127.0.0.1:8080", "MAYFLY_LOG_LEVEL=debug mayfly serve"],
  async run({ host, config, openDaemon, output }) {
    const path = socketPath(config);
    await using daemon = await reachOrOpen<DaemonHandle>({
      // Where a daemon answers, there is nothing to wait for: the lock says whose it is.
      reach: async () => await daemonAt(host, path) === undefined ? undefined : await openDaemon(host, config),
      open: () => openDaemon(host, config),
      patienceMs,
      warn: output.note,
    });
    const stopped = Promise.withResolvers<number>();
    let asked = 0;
    const stop = () => {
      asked++;
      // The first signal drains; the second one stops at once, as an operator who presses Ctrl-C again expects.
      const ending = asked === 1 ? daemon.drain() : asked === 2 ? daemon[Symbol.asyncDispose]() : undefined;
      ending?.then(() => stopped.resolve(0), stopped.reject);
    };
    const off = [host.onSignal("SIGTERM", stop), host.onSignal("SIGINT", stop)];
    try {
      for (const address of await daemon.listen()) output.note(`mayfly listens on ${address}`);
      return await stopped.promise;
    } finally {
      for (const end of off) end();
    }
  },
};
