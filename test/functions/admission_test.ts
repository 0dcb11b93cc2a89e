import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/core/errors.ts";
import { Admission, type Place } from "../../src/functions/admission.ts";

const refused = (code: string) => (error: unknown) =>
  error instanceof Failure && error.code === code && typeof error.details?.["retryAfterSeconds"] === "number";

const [a, b, c] = ["a", "b", "c"].map((key) => ({ namespace: "default", key })) as [Place, Place, Place];

describe("Admission", () => {
  it("enter() refuses one more than the function allows", () => {
    const admission = new Admission({ limit: 10 });
    admission.enter(a, 2);
    admission.enter(a, 2);
    assert.throws(() => admission.enter(a, 2), refused("resource_exhausted"));
    admission.enter(b, 2);
    admission.leave(a);
    admission.enter(a, 2);
    assert.equal(admission.running("a"), 2);
  });

  it("enter() refuses one more than the daemon allows", () => {
    const admission = new Admission({ limit: 2 });
    admission.enter(a, 9);
    admission.enter(b, 9);
    assert.throws(() => admission.enter(c, 9), refused("resource_exhausted"));
    admission.leave(a);
    admission.enter(c, 9);
  });

  it("enter() refuses one more than a namespace may have", () => {
    const admission = new Admission({ limit: 10, namespaces: { team: 1, "*": 2, free: 9 } });
    const of = (namespace: string, key: string) => ({ namespace, key: `${namespace}/${key}` });
    admission.enter(of("team", "x"), 9);
    assert.throws(() => admission.enter(of("team", "y"), 9), refused("resource_exhausted"));
    for (const key of ["x", "y"]) admission.enter(of("other", key), 9);
    assert.throws(() => admission.enter(of("other", "x"), 9), refused("resource_exhausted"));
    for (let i = 0; i < 5; i++) admission.enter(of("free", "x"), 9);
    admission.leave(of("team", "x"));
    admission.enter(of("team", "y"), 9);
  });

  it("keep() leaves to others what is kept for nobody", () => {
    const admission = new Admission({ limit: 4 });
    admission.keep("a", 2);
    admission.enter(b, 9);
    admission.enter(c, 9);
    assert.throws(() => admission.enter(b, 9), refused("resource_exhausted"));
    admission.enter(a, 9);
    admission.enter(a, 9);
    assert.throws(() => admission.enter(a, 9), refused("resource_exhausted"));
    admission.leave(b);
    // Beyond those that are kept for it, it has its part of the others.
    admission.enter(a, 9);
    assert.throws(() => admission.enter(b, 9), refused("resource_exhausted"));
    admission.leave(a);
    admission.enter(b, 9);
    for (const place of [a, a, b, c]) admission.leave(place);
    admission.keep("a", 0);
    for (let i = 0; i < 4; i++) admission.enter(b, 9);
    assert.throws(() => admission.enter(a, 9), refused("resource_exhausted"));
  });

  it("keep() counts what runs already, and leaves one place for everybody", () => {
    const admission = new Admission({ limit: 4 });
    for (let i = 0; i < 3; i++) admission.enter(b, 9);
    admission.keep("a", 3);
    assert.throws(() => admission.keep("b", 1), { code: "resource_exhausted" });
    admission.enter(a, 9);
    assert.throws(() => admission.enter(a, 9), refused("resource_exhausted"));
    for (let i = 0; i < 3; i++) admission.leave(b);
    admission.enter(b, 9);
    assert.throws(() => admission.enter(b, 9), refused("resource_exhausted"));
    admission.enter(a, 9);
    admission.keep("a", 1);
    admission.enter(c, 9);
    assert.throws(() => admission.enter(c, 9), refused("resource_exhausted"));
    admission.keep("b", 2);
  });

  it("close() refuses all", () => {
    const admission = new Admission({ limit: 2 });
    admission.close();
    assert.throws(() => admission.enter(a, 9), refused("unavailable"));
  });
});
