import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import type { CallStore } from "../../src/core/call.ts";
import { Failure } from "../../src/core/errors.ts";
import { FunctionInputSchema } from "../../src/core/function.ts";
import { parse } from "../../src/core/parse.ts";
import { Calls, type CallsParts } from "../../src/functions/calls.ts";
import { Ingress } from "../../src/functions/ingress.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { openQueue } from "../../src/metadata/queue.ts";
import { OpenTelemetryMonitor } from "../../src/monitoring/monitor.ts";
import { until } from "../support/until.ts";

it("runs a call again whose outcome could not be written down", async () => {
  const root = mkdtempSync(join(tmpdir(), "mayfly-calls-"));
  const settings = parse(FunctionInputSchema, { image: "box:1" }, "cannot read the settings");
  const record = { ...settings, namespace: "default", name: "f", revision: 1, digest: `sha256:${"0".repeat(64)}` };
  const told: string[] = [];
  let invoked = 0;
  let full = true;
  try {
    await using monitor = await OpenTelemetryMonitor.start({ env: {}, host: "test" });
    const metadata = await openMetadata({ root });
    await using queue = await openQueue(root);
    const store: CallStore = new Proxy(metadata.calls, {
      get(target, name) {
        if (name === "finish" && full) {
          return () => {
            full = false;
            return Promise.reject(new Failure("resource_exhausted", "the disk is full"));
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const functions = {
      answering: () => Promise.resolve(record),
      gone: () => Promise.resolve(),
      ingress: new Ingress(),
      invoke: () => Promise.resolve(new Response(`answer ${++invoked}`)),
    } as unknown as CallsParts["functions"];
    {
      await using calls = new Calls({
        store,
        queue,
        functions,
        callbacks: { parse: (url) => url, wake: () => {} },
        monitor,
        concurrency: 1,
        maxWaiting: 10,
        maxBytes: 1000,
        retryBaseMs: 1,
        onError: (_, what) => told.push(what),
      });
      await calls.start();
      const request = new Request("http://x/fn/f", { method: "POST" });
      const { id } = await calls.accept("default", "f", {
        method: "POST",
        headers: request.headers,
        body: null,
        scriptName: "/fn/f",
        path: "",
        query: "",
        client: undefined,
        secure: false,
        identify: () => Promise.reject(new Error("nobody asks")),
        onRate: () => {},
        span: monitor.span("POST"),
        signal: request.signal,
        upgrade: undefined,
      });
      await until(async () => (await calls.get(id)).status === "succeeded");
      assert.equal((await calls.get(id)).attempts, 2);
      assert.deepEqual(told, [`cannot record how call ${id} went: it comes again`]);
      assert.equal(invoked, 2);
    }
    await metadata.close();
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
