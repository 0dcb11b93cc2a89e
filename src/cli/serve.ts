import type { Command } from "./command.ts";

export const serve: Command = {
  name: "serve",
  summary: "run the daemon",
  usage: "serve [options]",
  examples: ["mayfly serve --listen 127.0.0.1:8080", "MAYFLY_LOG_LEVEL=debug mayfly serve"],
  async run({ host, config, openDaemon, output }) {
    await using daemon = await openDaemon(host, config);
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
