import process from "node:process";
import type { Host } from "../core/host.ts";

/** @see Host.onSignal */
export const onSignal: Host["onSignal"] = (signal, listener) => {
  process.on(signal, listener);
  return () => void process.off(signal, listener);
};

/** @see Host.onChild */
export const onChild: Host["onChild"] = (listener) => {
  process.on("SIGCHLD", listener);
  return () => void process.off("SIGCHLD", listener);
};
