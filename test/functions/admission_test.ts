import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { Admission } from "../../src/functions/admission.ts";

const refused = (code: string) => (error: unknown) =>
  error instanceof Failure && error.code === code && typeof error.details?.["retryAfterSeconds"] === "number";

describe("Admission", () => {
  it("enter() refuses one more than the function allows", () => {
    const admission = new Admission(10);
    admission.enter("a", 2);
    admission.enter("a", 2);
    assert.throws(() => admission.enter("a", 2), refused("resource_exhausted"));
    admission.enter("b", 2);
    admission.leave("a");
    admission.enter("a", 2);
    assert.equal(admission.running("a"), 2);
  });

  it("enter() refuses one more than the daemon allows", () => {
    const admission = new Admission(2);
    admission.enter("a", 9);
    admission.enter("b", 9);
    assert.throws(() => admission.enter("c", 9), refused("resource_exhausted"));
    admission.leave("a");
    admission.enter("c", 9);
  });

  it("close() refuses all", () => {
    const admission = new Admission(2);
    admission.close();
    assert.throws(() => admission.enter("a", 9), refused("unavailable"));
  });
});
