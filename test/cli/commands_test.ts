import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { type Finished, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { startRegistry } from "../support/registry.ts";
import { until } from "../support/until.ts";

const digest = /sha256:[0-9a-f]{64}/;

/** The command line on a state folder of its own. */
class CommandLine {
  readonly folder: string;
  readonly layout: string;

  constructor(folder: string) {
    this.folder = folder;
    this.layout = makeBusyboxImage(folder, "box:1");
  }

  /** Runs a command. The flags of the state come right behind its name. */
  run(command: string, ...args: readonly string[]): Promise<Finished> {
    return this.withInput("", command, ...args);
  }

  withInput(input: string, command: string, ...args: readonly string[]): Promise<Finished> {
    return mayfly([command, ...stateFlags(this.folder), ...args], { input });
  }

  /** Runs a command that has to succeed, and gives its output. */
  async out(command: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, ...args);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** What a command writes with `--json`. */
  async json<T>(command: string, ...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.out(command, "--json", ...args));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function openCommandLine(): CommandLine {
  return new CommandLine(mkdtempSync(join(tmpdir(), "mayfly-cli-")));
}

/** The cells of a table's rows, without its head. */
function rows(table: string): string[][] {
  return table.trimEnd().split("\n").slice(1).map((line) => line.split(/ {3,}/));
}

describe("the command line beside a daemon", () => {
  let cli: CommandLine;
  let daemon: MayflyProcess;

  before(async () => {
    cli = openCommandLine();
    daemon = await MayflyProcess.start(cli.folder, ["--log-level", "warn"]);
    assert.match(await cli.out("import", cli.layout), /^docker\.io\/library\/box:1@sha256:[0-9a-f]{64}\n$/);
    assert.equal(
      await cli.out("deploy", "upper", "--image", "box:1", "--", "tr", "a-z", "A-Z"),
      "upper revision 1, POST /fn/upper\n",
    );
  });

  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    cli[Symbol.dispose]();
  });

  it("images, functions and plugins list what is there, as a table and as JSON", async () => {
    assert.deepEqual(rows(await cli.out("images")).map(([name]) => name), ["box:1"]);
    assert.deepEqual(rows(await cli.out("namespaces")).map(([name]) => name), ["default"]);
    const [image] = await cli.json<{ name: string; target: { digest: string } }[]>("images");
    assert.equal(image?.name, "docker.io/library/box:1");
    assert.match(image?.target.digest ?? "", digest);

    assert.deepEqual(rows(await cli.out("functions"))[0]?.slice(0, 5), ["upper", "box:1", "1", "256 MiB", "60s"]);
    const [record] = await cli.json<{ name: string; args: string[] }[]>("functions");
    assert.deepEqual([record?.name, record?.args], ["upper", ["tr", "a-z", "A-Z"]]);

    const plugins = await cli.json<{ kind: string; id: string; state: string }[]>("plugins");
    assert.ok(plugins.some(({ kind, id, state }) => kind === "runtime" && id === "native" && state === "running"));
  });

  it("invoke gives standard input, --data or a file to the function, and prints its answer", async () => {
    assert.equal((await cli.withInput("hello", "invoke", "upper")).stdout, "HELLO");
    assert.equal(await cli.out("invoke", "upper", "--data", "mayfly"), "MAYFLY");
    writeFileSync(join(cli.folder, "body"), "from a file");
    assert.equal(await cli.out("invoke", "upper", "--data", `@${join(cli.folder, "body")}`), "FROM A FILE");
  });

  it("invoke ends with the function's exit code, and logs tells why", async () => {
    await cli.out("deploy", "fails", "--image", "box:1", "--", "sh", "-c", "echo because >&2; exit 3");
    const failed = await cli.run("invoke", "fails");
    assert.deepEqual([failed.code, failed.stdout], [3, ""]);
    assert.match(failed.stderr, /^mayfly: the function ended with exit code 3\n$/);

    assert.match(await cli.out("logs", "fails"), / {2}failed \(3\) in [\d.]+ ms\n[^]*\n {4}because\n$/);
    const [record] = await cli.json<{ status: string; exitCode: number; stderr: string }[]>("logs", "fails");
    assert.deepEqual([record?.status, record?.exitCode, record?.stderr], ["failed", 3, "because\n"]);
  });

  it("ps shows a container while it runs", async () => {
    await cli.out("deploy", "slow", "--image", "box:1", "--", "sleep", "60");
    const left = new AbortController();
    const answer = fetch(`${daemon.url}/fn/slow`, { method: "POST", body: "x", signal: left.signal });
    const gone = assert.rejects(answer);
    const running = await until(async () => {
      const listed = await cli.json<{ function: string; status: string }[]>("ps");
      return listed.find(({ status }) => status === "running");
    });
    assert.equal(running.function, "slow");
    left.abort();
    await gone;
    await until(async () => (await cli.json<unknown[]>("ps")).length === 0);
  });

  it("run carries the three streams and the exit code", async () => {
    const ran = await cli.withInput("in", "run", "-i", "-e", "A=b", "box:1", "sh", "-c", "cat; echo $A >&2; exit 7");
    assert.deepEqual([ran.code, ran.stdout, ran.stderr], [7, "in", "b\n"]);
  });

  it("run ends as a shell does for a command that is not there", async () => {
    const ran = await cli.run("run", "box:1", "nowhere");
    assert.equal(ran.code, 127);
    assert.match(ran.stderr, /^mayfly: .*"nowhere".*\n$/);
  });

  it("rm removes functions, rmi images; what is not there is exit status 66", async () => {
    await cli.out("deploy", "gone", "--image", "box:1");
    assert.equal(await cli.out("rm", "gone"), "gone\n");
    await cli.out("import", cli.layout, "--name", "other:2");
    assert.equal(await cli.out("rmi", "other:2"), "other:2\n");
    for (const [command, name] of [["rm", "gone"], ["rmi", "other:2"], ["logs", "gone"], ["invoke", "gone"]] as const) {
      const { code, stdout, stderr } = await cli.run(command, name);
      assert.deepEqual([code, stdout], [66, ""], command);
      assert.match(stderr, /^mayfly: [^]*(?:gone|other:2)[^]*\n$/);
    }
  });

  it("export writes what import takes in again", async () => {
    const path = join(cli.folder, "out.tar");
    assert.equal((await cli.run("export", "box:1", path)).stderr, `wrote ${path}\n`);
    const [again] = await cli.json<{ target: { digest: string } }[]>("import", path, "--name", "again:1");
    const images = await cli.json<{ name: string; target: { digest: string } }[]>("images");
    assert.equal(again?.target.digest, images.find(({ name }) => name.endsWith("/box:1"))?.target.digest);
  });

  it("save writes what load, docker and podman take; tag gives one more name", async () => {
    assert.equal(await cli.out("tag", "box:1", "team/box:2"), "docker.io/team/box:2\n");
    const archive = join(cli.folder, "saved.tar");
    await cli.out("save", "-o", archive, "box:1", "team/box:2");
    const names = JSON.parse(execFileSync("tar", ["-xOf", archive, "manifest.json"], { encoding: "utf8" }));
    assert.deepEqual(names.map(({ RepoTags }: { RepoTags: string[] }) => RepoTags), [["box:1", "team/box:2"]]);
    execFileSync("skopeo", ["inspect", `docker-archive:${archive}:team/box:2`]);
    await cli.out("rmi", "team/box:2");
    assert.equal(
      await cli.out("load", "-i", archive),
      "Loaded image: docker.io/library/box:1\nLoaded image: docker.io/team/box:2\n",
    );
    await cli.out("rmi", "team/box:2");
    const [row] = rows(await cli.out("images", "--digests"));
    assert.match(row?.[1] ?? "", digest);
  });

  it("gc, system df and content verify look after the state folder", async () => {
    assert.match(await cli.out("gc", "--dry-run"), /^would remove 0 blobs \(0 B\), 0 snapshots, /);
    assert.match(await cli.out("gc"), /^removed 0 blobs/);
    const parts = rows(await cli.out("system", "df"));
    assert.deepEqual(parts[0]?.slice(0, 2), ["blobs", "content/blobs"]);
    assert.equal(parts.at(-1)?.[0], "total");
    const { code, stderr } = await cli.run("content", "verify");
    assert.deepEqual([code, /blobs, .*, 0 problems\n$/.test(stderr)], [0, true], stderr);
    assert.equal((await cli.run("system", "fly")).code, 2);
  });

  it("verify tells of each blob of an image, and its exit status whether all is well", async () => {
    const whole = await cli.run("verify", "box:1");
    assert.equal(whole.code, 0, whole.stderr);
    assert.deepEqual(rows(whole.stdout).map(([, kind, , state]) => [kind, state]), [
      ["manifest", "whole"],
      ["config", "whole"],
      ["layer", "whole"],
    ]);
    assert.match(whole.stderr, /no policy of signatures[^]*box:1: 3 blobs, all whole\n$/);
    const { blobs } = await cli.json<{ blobs: { digest: string; kind: string }[] }>("verify", "box:1");
    const path = join(cli.folder, "root/content/blobs", blobs.at(-1)?.digest.replace(":", "/") ?? "");
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(1));
    try {
      const damaged = await cli.run("verify", "box:1");
      assert.equal(damaged.code, 1);
      assert.match(damaged.stdout, /layer .* corrupt: its bytes on disk are sha256:/);
      assert.match(damaged.stderr, /box:1: 1 of 3 blobs are not whole: mayfly content verify --repair/);
    } finally {
      writeFileSync(path, bytes);
    }
    assert.equal((await cli.run("verify", "nothing:1")).code, 66);
  });

  it("push brings an image to a registry, from which pull has it again", async () => {
    await using registry = await startRegistry();
    const name = `${registry.host}/team/box:1`;
    const pushed = (await cli.out("push", "box:1", name)).trim();
    assert.match(pushed, new RegExp(`^${name}@sha256:[0-9a-f]{64}$`));
    assert.equal((await cli.out("pull", name)).trim(), pushed);
    const { code, stderr } = await cli.run("push", "box:1", "127.0.0.1:9/box");
    assert.deepEqual([code, /cannot push .*: cannot reach 127/.test(stderr)], [69, true], stderr);
    await cli.out("rmi", name);
  });

  it("namespaces keep functions and images apart", async () => {
    assert.deepEqual(await cli.json("images", "-n", "other"), []);
    assert.equal((await cli.run("invoke", "-n", "other", "upper")).code, 66);
  });

  it("a daemon is not opened twice on one root", async () => {
    const second = await cli.run("serve", "--listen", "off");
    assert.equal(second.code, 78);
    assert.match(second.stderr, new RegExp(`\\b${daemon.child.pid}\\b`));
  });
});

describe("the command line without a daemon", () => {
  let cli: CommandLine;
  before(() => cli = openCommandLine());
  after(() => cli[Symbol.dispose]());

  it("works in the command's own process, and keeps what it made", async () => {
    await cli.out("import", cli.layout);
    await cli.out("deploy", "upper", "--image", "box:1", "--", "tr", "a-z", "A-Z");
    assert.equal((await cli.withInput("hello", "invoke", "upper")).stdout, "HELLO");
    assert.equal(await cli.out("run", "box:1", "echo", "-n", "--json"), "--json");
    assert.deepEqual((await cli.json<{ status: string }[]>("logs", "upper")).map(({ status }) => status), [
      "succeeded",
    ]);
    assert.ok(!existsSync(join(cli.folder, "run/mayfly.sock")));
  });

  it("content recover gives images names again whose database is lost, and they run", async () => {
    using lost = openCommandLine();
    await lost.out("import", lost.layout);
    await lost.out("deploy", "upper", "--image", "box:1", "--", "tr", "a-z", "A-Z");
    for (const end of ["", "-wal", "-shm"]) rmSync(join(lost.folder, `root/mayfly.db${end}`), { force: true });
    assert.deepEqual(await lost.json("images"), []);
    const gc = await lost.run("gc");
    assert.notEqual(gc.code, 0);
    assert.match(gc.stderr, /mayfly content recover/);
    const { code, stdout, stderr } = await lost.run("content", "recover");
    assert.equal(code, 0, stderr);
    const [, name = ""] = /^(localhost\/recovered:[0-9a-f]{12}) sha256:[0-9a-f]{64} \(its name is lost: .*\)\n$/
      .exec(stdout) ?? [];
    assert.match(stderr, /1 images have names again, 0 had some\nfunctions, .* make them again\n/);
    assert.equal((await lost.run("verify", name)).code, 0);
    // As it says: the folders of the snapshots that nobody knows any more go then.
    const [, id = "", file = ""] = /write its id, and start again: echo (\S+) > (\S+)\n$/.exec(stderr) ?? [];
    assert.equal(file, join(lost.folder, "root/id"));
    writeFileSync(file, `${id}\n`);
    assert.equal(await lost.out("run", name, "echo", "back"), "back\n");
    assert.equal(await lost.out("tag", name, "box:1"), "docker.io/library/box:1\n");
    await lost.out("deploy", "upper", "--image", "box:1", "--", "tr", "a-z", "A-Z");
    assert.equal((await lost.withInput("again", "invoke", "upper")).stdout, "AGAIN");
    const second = await lost.json<{ images: unknown[]; known: number }>("content", "recover");
    assert.deepEqual([second.images, second.known], [[], 2]);
  });

  it("says what is wrong with a call", async () => {
    for (
      const [wanted, pattern, command, ...args] of [
        [2, /--al[^]*usage: mayfly images/, "images", "--al"],
        [2, /--image <reference>[^]*usage: mayfly deploy/, "deploy", "f"],
        [2, /"F".*lower-case letters/, "deploy", "F", "--image", "box:1"],
        [2, /lower case/, "run", "BOX:1"],
        [66, /nowhere/, "import", "/nowhere"],
        [2, /--data @\/nowhere/, "invoke", "f", "--data", "@/nowhere"],
      ] as const
    ) {
      const { code, stdout, stderr } = await cli.run(command, ...args);
      assert.match(stderr, pattern);
      assert.deepEqual([code, stdout], [wanted, ""], command);
    }
    assert.equal((await mayfly(["fly"])).code, 2);
  });

  it("doctor tells what the machine can do, and its exit status whether that is enough", async () => {
    const { code, stdout } = await cli.run("doctor", "--json");
    const checks = JSON.parse(stdout) as { name: string; state: string; says: string }[];
    assert.equal(code, checks.some(({ state }) => state === "bad") ? 1 : 0);
    for (
      const name of [
        "host",
        "user",
        "kernel",
        "overlay",
        "cgroups",
        "seccomp",
        "users",
        "bridge",
        "capabilities",
        "disk",
      ]
    ) {
      assert.ok(checks.some((check) => check.name === name && check.says !== ""), name);
    }
    const written = await cli.run("doctor");
    for (const { says } of checks) if (!says.includes("free at")) assert.ok(written.stdout.includes(says), says);
  });

  it("shows its version and its help", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    assert.equal((await mayfly(["--version"])).stdout, `${version}\n`);
    assert.match((await mayfly(["--help"])).stdout, /^Mayfly runs containerized jobs/);
    assert.match((await mayfly(["run", "--help"])).stdout, /mayfly run \[options\] <reference>/);
  });
});
