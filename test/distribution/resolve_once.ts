import { parseReference } from "../../src/core/reference.ts";
import { Registry } from "../../src/distribution/registry.ts";

// Prints what a reference names over https. A process of its own: which CAs are trusted is settled when it starts.
const registry = new Registry({
  plainHttp: [],
  credentials: async () => undefined,
  headerTimeoutMs: 5000,
  stallTimeoutMs: 5000,
  retry: { attempts: 1, baseMs: 1, maxMs: 1 },
});
const reference = parseReference(process.argv[2] ?? "");
console.log(JSON.stringify(await registry.resolve(reference, { plainHttp: false })));
