import type { Host } from "../core/host.ts";

/** The adapter for the JavaScript runtime that this process runs on. Nothing else in the tree asks which one it is. */
export async function currentHost(): Promise<Host> {
  if ("Deno" in globalThis) return (await import("./deno.ts")).host;
  if ("Bun" in globalThis) return (await import("./bun.ts")).host;
  return (await import("./node.ts")).host;
}
