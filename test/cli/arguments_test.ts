import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { commandFirst, help, parse } from "../../src/cli/arguments.ts";
import { closest } from "../../src/cli/closest.ts";
import { commands, overview } from "../../src/cli/commands.ts";
import { byteCount, milliseconds, pairs } from "../../src/cli/flags.ts";
import { ago, bytes, printable } from "../../src/cli/output.ts";

const command = (name: string) => {
  const found = commands.find((candidate) => candidate.name === name);
  assert.ok(found);
  return found;
};
const invalid = (pattern: RegExp) => ({ code: "invalid_argument", message: pattern });

describe("parse()", () => {
  it("gives everything behind the first word of run to the container", () => {
    const { words, flags } = parse(command("run"), ["-i", "--memory", "64m", "busybox", "ls", "-l", "--json"]);
    assert.deepEqual(words, ["busybox", "ls", "-l", "--json"]);
    assert.equal(flags["memory"], "64m");
    assert.equal(flags["interactive"], true);
    assert.equal(flags["json"], undefined);
  });

  it("leaves out a -- before the words", () => {
    assert.deepEqual(parse(command("run"), ["--", "busybox", "--help"]).words, ["busybox", "--help"]);
    assert.deepEqual(parse(command("deploy"), ["f", "--image", "i", "--", "tr", "-d", "x"]).words, [
      "f",
      "tr",
      "-d",
      "x",
    ]);
  });

  it("refuses unknown flags, missing values, too few and too many words, and shows the usage", () => {
    assert.throws(() => parse(command("images"), ["--al"]), invalid(/--al[^]*usage: mayfly images/));
    assert.throws(() => parse(command("deploy"), ["f", "--image"]), invalid(/--image/));
    assert.throws(() => parse(command("pull"), []), invalid(/it takes 1 argument, and was given 0/));
    assert.throws(() => parse(command("pull"), ["a", "b"]), invalid(/was given 2/));
  });

  it("takes the configuration's options with every command, behind its name or before it", () => {
    assert.equal(parse(command("images"), ["--root", "/x"]).flags["root"], "/x");
    const wanted = ["run", "--root", "/x", "--json", "-d", "box", "--root"];
    assert.deepEqual(commandFirst(["--root", "/x", "--json", "run", "-d", "box", "--root"]), wanted);
    for (const args of [[], ["--help"], ["--root", "/x"], ["--", "run"]]) assert.deepEqual(commandFirst(args), args);
  });
});

describe("help()", () => {
  it("says every command's usage, own flags and examples", () => {
    for (const each of commands) {
      const text = help(each);
      assert.ok(text.includes(`mayfly ${each.usage}`), each.name);
      for (const flag of Object.keys(each.flags ?? {})) assert.ok(text.includes(`--${flag}`), `${each.name} --${flag}`);
      assert.ok(overview().includes(each.summary));
    }
    assert.match(help(command("serve")), /--max-concurrency <number>/);
    assert.match(help(command("run")), /^Without -d, -t/m, "what is no example has no prompt before it");
  });
});

describe("a name that is not known", () => {
  it("is answered with the one that was meant, where one is near", () => {
    const names = commands.map(({ name }) => name);
    for (const [word, near] of [["delpoy", "deploy"], ["imgaes", "images"], ["exce", "exec"]]) {
      assert.equal(closest(word ?? "", names), near);
    }
    for (const word of ["", "x", "frobnicate", "p".repeat(10_000)]) assert.equal(closest(word, names), undefined);
    assert.throws(() => parse(command("run"), ["--memroy", "1m", "box"]), /did you mean --memory\?/);
  });
});

describe("values of flags", () => {
  it("byteCount() reads binary units and refuses the rest", () => {
    assert.deepEqual(["0", "64m", "1.5g", "2KiB"].map((text) => byteCount("f", text)), [
      0,
      2 ** 26,
      1.5 * 2 ** 30,
      2048,
    ]);
    for (const text of ["", "m", "-1", "1x", "1 m"]) {
      assert.throws(() => byteCount("memory", text), invalid(/--memory is/));
    }
  });

  it("milliseconds() reads units of time", () => {
    assert.deepEqual(["500ms", "2", "1.5s", "2m", "1h"].map((text) => milliseconds("f", text)), [
      500,
      2000,
      1500,
      120_000,
      3600_000,
    ]);
    assert.throws(() => milliseconds("timeout", "soon"), invalid(/--timeout is "soon"/));
  });

  it("pairs() splits at the first equals sign", () => {
    assert.deepEqual(pairs("env", ["A=1=2", "B="]), { A: "1=2", B: "" });
    assert.throws(() => pairs("env", ["=x"]), invalid(/--env/));
  });
});

describe("what is shown", () => {
  it("bytes() and ago() round for people", () => {
    assert.deepEqual([0, 1023, 1536, 2 ** 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "1.0 GiB"]);
    const now = Date.parse("2026-01-02T00:00:00Z");
    assert.equal(ago("2026-01-01T00:00:00Z", now), "1 day ago");
    assert.equal(ago("2026-01-01T23:58:00Z", now), "2 minutes ago");
    assert.equal(ago("2026-01-03T00:00:00Z", now), "0 seconds ago");
  });

  it("printable() takes the sting out of control characters", () => {
    assert.equal(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
  });
});
