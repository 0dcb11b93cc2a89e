import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure, passOverEnded } from "../../src/core/errors.ts";

describe("passOverEnded", () => {
  it("passes over what has ended, and nothing else", async () => {
    for (const code of ["not_found", "failed_precondition"] as const) {
      assert.equal(await Promise.reject(new Failure(code, "ended")).catch(passOverEnded), undefined);
    }
    for (const error of [new Failure("internal", "a defect"), new TypeError("a defect")]) {
      await assert.rejects(Promise.reject(error).catch(passOverEnded), error);
    }
  });
});
