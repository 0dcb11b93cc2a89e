import process from "node:process";
import { mediaTypes } from "../../src/core/descriptor.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { parseReference } from "../../src/core/reference.ts";
import { Registry } from "../../src/distribution/registry.ts";
import { digestOfBytes } from "../support/layout_folder.ts";
import { type OddAnswer, oddServer } from "./odd_server.ts";

/**
 * Prints what becomes of requests that a registry at a public address sends on to other hosts: a line of JSON for each. In a
 * network namespace of its own, where this machine has all those addresses.
 */
const registry = new Registry({
  plainHttp: ["registry.example"],
  credentials: async () => undefined,
  headerTimeoutMs: 5000,
  stallTimeoutMs: 5000,
  retry: { attempts: 1, baseMs: 1, maxMs: 1 },
});
const bytes = new TextEncoder().encode("a blob");
const blob = { mediaType: mediaTypes.layer, digest: digestOfBytes(bytes), size: bytes.length };
const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] });
const subject = digestOfBytes("an image");

const acts: Readonly<Record<string, (name: string) => Promise<unknown>>> = {
  push: (name) =>
    registry.pushBlob(parseReference(name), blob, async function* () {
      yield bytes;
    }),
  pull: async (name) => {
    const { body } = await registry.fetch(parseReference(name), blob);
    for await (const _ of body);
  },
  list: (name) => registry.referrers({ ...parseReference(name), digest: subject }),
};

for (const elsewhere of process.argv.slice(2)) {
  for (const [act, run] of Object.entries(acts)) {
    const reached: string[] = [];
    await using server = await oddServer(({ method, path, headers }, socket): OddAnswer => {
      if (path.startsWith("/elsewhere")) {
        reached.push(`${method} ${headers["host"]?.split(":")[0]} at ${socket.localAddress}`);
        if (act === "push") return { status: 201 };
        return { status: 200, body: act === "pull" ? bytes : index };
      }
      const location = `http://${elsewhere}:${server.port}/elsewhere`;
      if (method === "HEAD") return { status: 404 };
      if (act === "push") return { status: 202, headers: { location } };
      if (act === "pull") return { status: 307, headers: { location } };
      return { status: 200, body: index, headers: { link: `<${location}>; rel="next"` } };
    }, "0.0.0.0");
    const name = `registry.example:${server.port}/team/app`;
    const outcome = await run(name).then(() => "done", (error) => `${codeOf(error)}: ${messageOf(error)}`);
    console.log(JSON.stringify({ elsewhere, act, outcome, reached }));
  }
}
