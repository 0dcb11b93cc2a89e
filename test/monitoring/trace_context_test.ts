import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseTraceparent, validContext } from "../../src/monitoring/trace_context.ts";

const trace = "0af7651916cd43dd8448eb211c80319c";
const span = "b7ad6b7169203331";

describe("parseTraceparent()", () => {
  const cases: readonly [string, string, boolean][] = [
    ["version 00", `00-${trace}-${span}-01`, true],
    ["flags that are not known", `00-${trace}-${span}-ff`, true],
    ["spaces around it", ` 00-${trace}-${span}-01\t`, true],
    ["a later version", `cc-${trace}-${span}-01`, true],
    ["a later version that adds something", `cc-${trace}-${span}-01-what-the-future`, true],
    ["a later version that adds it without a dash", `cc-${trace}-${span}-01.what`, false],
    ["version 00 that adds something", `00-${trace}-${span}-01-x`, false],
    ["version ff", `ff-${trace}-${span}-01`, false],
    ["capitals", `00-${trace.toUpperCase()}-${span}-01`, false],
    ["an all-zero trace id", `00-${"0".repeat(32)}-${span}-01`, false],
    ["an all-zero span id", `00-${trace}-${"0".repeat(16)}-01`, false],
    ["a short trace id", `00-${trace.slice(1)}-${span}-01`, false],
    ["one of two", `00-${trace}-${span}-01, 00-${trace}-${span}-01`, false],
    ["nothing", "", false],
  ];
  for (const [what, header, valid] of cases) {
    it(`${valid ? "takes" : "refuses"} ${what}`, () => {
      const parsed = parseTraceparent(header);
      assert.deepEqual(parsed && [parsed.traceId, parsed.spanId], valid ? [trace, span] : undefined);
    });
  }
});

describe("validContext()", () => {
  const traceparent = `00-${trace}-${span}-01`;

  it("hands on what is valid, as version 00", () => {
    assert.deepEqual(validContext({ traceparent, tracestate: "a=1,b=2" }), { traceparent, tracestate: "a=1,b=2" });
    assert.deepEqual(validContext({ traceparent: `cc-${trace}-${span}-01-more` }), { traceparent });
  });

  it("leaves out a tracestate that is too long or of other characters", () => {
    for (const tracestate of [`a=${"x".repeat(600)}`, "a=\u0001", Array(33).fill("a=1").join(",")]) {
      assert.deepEqual(validContext({ traceparent, tracestate }), { traceparent });
    }
  });
});
