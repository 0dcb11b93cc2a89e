import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { codeOf } from "../../src/core/errors.ts";
import { type Flags, isSet, parseFlags, text, texts, wholeNumber } from "../../src/oci/arguments.ts";

const flags: Flags = {
  bundle: { type: "text", short: "b", help: "" },
  env: { type: "list", short: "e", help: "" },
  all: { type: "boolean", short: "a", help: "" },
};

describe("parseFlags()", () => {
  const forms: readonly (readonly [args: readonly string[], bundle: string | undefined, words: readonly string[]])[] = [
    [["--bundle", "x", "id"], "x", ["id"]],
    [["--bundle=x=y", "id"], "x=y", ["id"]],
    [["-b", "x", "id"], "x", ["id"]],
    [["-bundle", "x", "id"], "x", ["id"]],
    [["id", "--bundle", "x"], "x", ["id"]],
    [["id", "--", "--bundle", "x"], undefined, ["id", "--bundle", "x"]],
    [["id", "-"], undefined, ["id", "-"]],
    [["--bundle", ""], "", []],
  ];
  for (const [args, bundle, words] of forms) {
    it(`reads ${args.join(" ")}`, () => {
      const given = parseFlags(args, flags);
      assert.equal(text(given, "bundle"), bundle);
      assert.deepEqual(given.words, words);
    });
  }

  it("leaves what follows the last word to the container", () => {
    const given = parseFlags(["-e", "A=1", "--env", "B=2", "id", "ls", "-l", "--all"], flags, 1);
    assert.deepEqual(texts(given, "env"), ["A=1", "B=2"]);
    assert.deepEqual(given.words, ["id", "ls", "-l", "--all"]);
    assert.equal(isSet(given, "all"), false);
  });

  it("reads booleans with a value", () => {
    assert.equal(isSet(parseFlags(["--all"], flags), "all"), true);
    assert.equal(isSet(parseFlags(["--all=false"], flags), "all"), false);
    assert.equal(isSet(parseFlags(["--all=true"], flags), "all"), true);
  });

  it("refuses what it does not know, and what is not whole", () => {
    const refused = (act: () => unknown) => assert.throws(act, (error) => codeOf(error) === "invalid_argument");
    refused(() => parseFlags(["--none"], flags));
    refused(() => parseFlags(["--bundle"], flags));
    refused(() => wholeNumber(parseFlags(["--bundle", "1.5"], flags), "bundle"));
    refused(() => wholeNumber(parseFlags(["--bundle", "x"], flags), "bundle"));
    assert.equal(wholeNumber(parseFlags(["--bundle", "-1"], flags), "bundle"), -1);
  });
});
