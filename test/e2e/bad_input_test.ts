/** What a user sees of bad input, at the API and on the command line; and that nothing of it stays. */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { mediaTypes } from "../../src/core/descriptor.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import { openMetadata } from "../../src/metadata/mod.ts";
import { oddServer } from "../distribution/odd_server.ts";
import { type Member, tarOf } from "../images/tar_bytes.ts";
import { digestOfBytes, LayoutFolder } from "../support/layout_folder.ts";
import { makeBusyboxImage, makeBusyboxRoot } from "../support/busybox_image.ts";
import { leftovers } from "../support/leftovers.ts";
import { type Finished, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { sameHost } from "../support/same_host.ts";

interface Problem {
  readonly status: number;
  readonly type: string;
  readonly title: string;
  readonly code: string;
  readonly detail: string;
}

/** How one mistake is made, and what is wanted of the answer. */
interface Mistake {
  /** Method, path and JSON body. */
  readonly api?: readonly [method: string, path: string, body?: unknown];
  readonly cli?: readonly string[];
  readonly status: number;
  /** The problem's type behind `urn:mayfly:problem:`. Default: its code. */
  readonly type?: string;
  readonly code: ErrorCode;
  readonly exit: number;
  readonly text: RegExp;
}

let folder = "";
let box = "";
let registry: TestRegistry;
let daemon: MayflyProcess;
let made = 0;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "mayfly-bad-"));
  box = makeBusyboxImage(folder, "box:1");
  registry = await startRegistry();
  daemon = await MayflyProcess.start(folder);
  const imported = await daemon.admin("POST", "/v1/images/import", { path: box });
  assert.equal(imported.status, 201, await imported.text());
});

after(async () => {
  await daemon[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function layout(): LayoutFolder {
  return new LayoutFolder(join(folder, `layout-${made++}`));
}

/** Everything that a failure could have left half-made. Blobs are not: what is whole is used again, or collected. */
async function state(): Promise<ReadonlySet<string>> {
  const rows = ["images", "functions", "tasks"].map(async (noun) => {
    const { items } = await (await daemon.admin("GET", `/v1/${noun}`)).json() as { items: unknown[] };
    return items.map((item) => `${noun} ${JSON.stringify(item)}`);
  });
  return new Set([...leftovers(folder), ...(await Promise.all(rows)).flat()]);
}

async function addsNothing(act: () => Promise<void>, allowed = /^$/): Promise<void> {
  const before = await state();
  await act();
  // An empty cgroup waits for the next container as long as the daemon runs.
  const waiting = /^cgroup .*\/\.idle-\d+$/;
  const added = [...await state()].filter((line) => !before.has(line) && !allowed.test(line) && !waiting.test(line));
  assert.deepEqual(added, []);
}

/** The problem that an answer has, or that its last line tells of where it is a stream of them. */
async function problemOf(answer: Response): Promise<Problem> {
  const text = (await answer.text()).trimEnd().split("\n").at(-1) ?? "";
  if (answer.status !== 200) assert.equal(answer.headers.get("content-type"), "application/problem+json", text);
  const body = JSON.parse(text) as Problem & { error?: Problem };
  if (answer.status !== 200) assert.equal(body.status, answer.status);
  return body.error ?? body;
}

function cli([command = "", ...args]: readonly string[]): Promise<Finished> {
  return mayfly([command, ...stateFlags(folder), ...args]);
}

async function refused(mistake: Mistake): Promise<void> {
  const { api, status, code, exit, text } = mistake;
  const type = `urn:mayfly:problem:${mistake.type ?? code.replaceAll("_", "-")}`;
  if (api !== undefined) {
    const problem = await problemOf(await daemon.admin(...api));
    assert.deepEqual([problem.status, problem.type, problem.code], [status, type, code], problem.detail);
    assert.match(problem.detail, text);
    assert.notEqual(problem.title, "Error");
  }
  if (mistake.cli === undefined) return;
  const { code: exited, stdout, stderr } = await cli(mistake.cli);
  assert.equal(exited, exit, stderr);
  assert.equal(stdout, "");
  assert.match(stderr, text);
  assert.doesNotMatch(stderr, /\bat .*\.ts:\d+|\[object|undefined/);
}

const put = (name: string, image: string) => ["PUT", `/v1/functions/${name}`, { image, command: ["/x"] }] as const;
const pull = (reference: string) => ["POST", "/v1/images", { reference }] as const;
const bringIn = (path: string) => ["POST", "/v1/images/import", { path }] as const;

describe("an image that is not there", () => {
  it("in its registry is 404, whoever asks for it", async () => {
    const reference = `${registry.host}/no/such:1`;
    const wanted = { status: 404, code: "not_found", exit: 66, text: /no\/such:1.*404/s } as const;
    await addsNothing(async () => {
      await refused({ ...wanted, api: pull(reference), cli: ["pull", reference] });
      await refused({ ...wanted, api: put("f", reference), cli: ["run", reference] });
    });
  });

  it("on disk or under a name is 404", async () => {
    const wanted = { status: 404, code: "not_found", exit: 66 } as const;
    await addsNothing(async () => {
      const text = /cannot import "\/nowhere": there is no such file or folder/;
      await refused({ ...wanted, text, api: bringIn("/nowhere"), cli: ["import", "/nowhere"] });
      const path = "/v1/images?name=nothing:1";
      await refused({ ...wanted, text: /nothing:1.*pull or import/, api: ["DELETE", path], cli: ["rmi", "nothing:1"] });
    });
  });

  it("behind a registry that nobody can reach is 503", async () => {
    const reference = "127.0.0.1:2/a/b:1";
    const wanted = { status: 503, code: "unavailable", exit: 69, text: /cannot reach 127\.0\.0\.1:2/ } as const;
    await addsNothing(() => refused({ ...wanted, api: put("f", reference), cli: ["pull", reference] }));
  });
});

describe("a layer", () => {
  const lost = { status: 500, code: "data_loss", exit: 65 } as const;
  const spoiled: readonly [
    string,
    (path: string, size: number) => void,
    RegExp,
    RegExp,
  ][] = [
    [
      "with other bytes than its digest says",
      (path, size) => writeFileSync(path, new Uint8Array(size)),
      /cannot pull "\S+\/t\/spoiled:0": what came for blob sha256:\S+ has the digest sha256:/,
      /the bytes on disk are not what it names/,
    ],
    [
      "that is cut short",
      (path, size) => truncateSync(path, size - 5),
      /it ends at byte \d+, expected were \d+/,
      /it has \d+ bytes on disk, want \d+/,
    ],
    [
      "that is too long",
      (path) => appendFileSync(path, "more"),
      /more than the \d+ bytes that were announced/,
      /it has \d+ bytes on disk, want \d+/,
    ],
  ];
  for (const [i, [what, spoil, pulled, text]] of spoiled.entries()) {
    it(`${what} is refused, from a registry and from disk`, async () => {
      const archive = tarOf({ path: `spoiled-${i}`, content: "x".repeat(3000) });
      const source = layout();
      const path = source.name({ [`spoiled-${i}:1`]: source.image([archive]) });
      const repository = `t/spoiled:${i}`;
      await registry.push(`oci:${path}:spoiled-${i}:1`, repository);
      const { digest, size } = source.layer(archive);
      spoil(registry.blobPath(digest), size);
      spoil(join(path, "blobs/sha256", digest.slice(7)), size);
      const reference = `${registry.host}/${repository}`;
      // What has come of a layer stays: the next pull goes on behind it.
      await addsNothing(
        () => refused({ ...lost, text: pulled, api: pull(reference), cli: ["pull", reference] }),
        /^ingest /,
      );
      await addsNothing(() => refused({ ...lost, text, api: bringIn(path), cli: ["import", path] }));
    });
  }

  it("whose compression is cut short, or that is another than the configuration says, is refused", async () => {
    const archive = tarOf({ path: "f", content: "x".repeat(3000) });
    for (
      const [name, bytes, text] of [
        ["cut", gzipSync(archive).subarray(0, -12), /cannot decompress gzip/],
        ["other", gzipSync(tarOf({ path: "g" })), /configuration says/],
      ] as const
    ) {
      const source = layout();
      const config = source.put(mediaTypes.config, {
        os: "linux",
        architecture: "amd64",
        rootfs: { type: "layers", diff_ids: [digestOfBytes(archive)] },
      });
      const layers = [source.put(mediaTypes.layerGzip, bytes)];
      const manifest = { schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers };
      const path = source.name({ [`${name}:1`]: source.put(mediaTypes.manifest, manifest) });
      assert.equal((await daemon.admin(...bringIn(path))).status, 201);
      await addsNothing(() => refused({ ...lost, text, api: put("f", `${name}:1`), cli: ["run", `${name}:1`, "/x"] }));
    }
  });
});

describe("a manifest that is none", () => {
  it("is refused from disk", async () => {
    for (const [content, text] of [["<html>log in</html>", /no JSON/], ["[]", /no JSON object/]] as const) {
      const source = layout();
      const path = source.name({ "none:1": source.put(mediaTypes.manifest, content) });
      const wanted = { status: 400, code: "invalid_argument", exit: 2, text } as const;
      await addsNothing(() => refused({ ...wanted, api: bringIn(path), cli: ["import", path] }));
    }
  });

  it("is refused from a registry", async () => {
    for (
      const [type, body, text] of [
        ["text/html", "<html>log in</html>", /"text\/html" is no image manifest/],
        [mediaTypes.manifest, '{"schemaVersion":2}', /"config" is missing/],
      ] as const
    ) {
      await using server = await oddServer(() => ({ status: 200, headers: { "content-type": type }, body }));
      const reference = `${server.host}/t/t:1`;
      const wanted = { status: 400, code: "invalid_argument", exit: 2, text } as const;
      await addsNothing(() => refused({ ...wanted, api: pull(reference), cli: ["pull", reference] }));
    }
  });
});

describe("an entry of a layer", () => {
  const climbing: readonly [string, readonly Member[], RegExp][] = [
    ["with ..", [{ path: "../mayfly-evil", content: "x" }], /"\.\.\/mayfly-evil": it climbs out of the root/],
    ["hard-linked to the machine's", [{ path: "a", type: "1", link: "/etc/passwd" }], /hard link "a".*"\/etc\/passwd"/],
    [
      "hard-linked through a symbolic link",
      [{ path: "l", type: "2", link: "/etc" }, { path: "a", type: "1", link: "l/passwd" }],
      /hard link "a".*"l\/passwd"/,
    ],
  ];
  for (const [i, [how, members, text]] of climbing.entries()) {
    it(`that climbs out ${how} is refused, and named`, async () => {
      const source = layout();
      const name = `climbing-${i}:1`;
      const path = source.name({ [name]: source.image([tarOf(...members)]) });
      assert.equal((await daemon.admin(...bringIn(path))).status, 201);
      const wanted = { status: 400, code: "invalid_argument", exit: 2, text } as const;
      await addsNothing(() => refused({ ...wanted, api: put("f", name), cli: ["deploy", "f", "--image", name] }));
    });
  }

  it("that is absolute, goes through links, is setuid or a device is applied faithfully inside the root", async () => {
    const root = join(folder, "faithful");
    makeBusyboxRoot(root);
    const source = layout();
    const archive = tarOf(
      { path: "/absolute", content: "in" },
      { path: "link", type: "2", link: "/../../etc" },
      { path: "link/through", content: "in" },
      { path: "bin/setuid", content: "x", mode: 0o4755 },
      { path: "bin/setgid", content: "x", mode: 0o2711, uid: 1, gid: 29 },
      { path: "nodes", type: "5", mode: 0o1770, uid: 1000 },
      { path: "nodes/null", type: "3", major: 1, minor: 3, mode: 0o666 },
      { path: "nodes/loop", type: "4", major: 7, minor: 0, mode: 0o660 },
      { path: "nodes/fifo", type: "6", mode: 0o600 },
      { path: "nodes/same", type: "1", link: "bin/setuid" },
    );
    const base = execFileSync("tar", ["-C", root, "--numeric-owner", "-c", "."], { maxBuffer: 1 << 26 });
    const path = source.name({ "faithful:1": source.image([base, archive]) });
    assert.equal((await daemon.admin(...bringIn(path))).status, 201);
    const wanted = [
      "/absolute 644 0:0 0:0 regular file",
      "/etc/through 644 0:0 0:0 regular file",
      "/bin/setuid 4755 0:0 0:0 regular file",
      "/bin/setgid 2711 1:29 0:0 regular file",
      "/nodes 1770 1000:0 0:0 directory",
      "/nodes/null 666 0:0 1:3 character special file",
      "/nodes/loop 660 0:0 7:0 block special file",
      "/nodes/fifo 600 0:0 0:0 fifo",
      "/nodes/same 4755 0:0 0:0 regular file",
    ];
    for (const snapshotter of ["overlay", "native"]) {
      const command = ["/bin/stat", "-c", "%n %a %u:%g %t:%T %F", ...wanted.map((line) => line.split(" ")[0])];
      const body = { image: "faithful:1", command, snapshotter };
      const deployed = await daemon.admin("PUT", `/v1/functions/faithful-${snapshotter}`, body);
      assert.equal(deployed.status, 201, await deployed.text());
      const answer = await fetch(`${daemon.url}/fn/faithful-${snapshotter}`);
      assert.deepEqual((await answer.text()).trimEnd().split("\n"), wanted);
    }
  });
});

describe("a function", () => {
  it("that nobody deployed is 404", async () => {
    const wanted = {
      status: 404,
      code: "not_found",
      exit: 66,
      text: /no function (?:"nobody" is deployed|is named "nobody")/,
    } as const;
    await addsNothing(async () => {
      const problem = await problemOf(await fetch(`${daemon.url}/fn/nobody`, { method: "POST", body: "x" }));
      assert.deepEqual([problem.status, problem.code], [404, "not_found"]);
      await refused({ ...wanted, api: ["GET", "/v1/functions/nobody"], cli: ["invoke", "nobody", "-X", "GET"] });
      await refused({ ...wanted, api: ["DELETE", "/v1/functions/nobody"], cli: ["rm", "nobody"] });
      await refused({ ...wanted, api: ["GET", "/v1/functions/nobody/logs"], cli: ["logs", "nobody"] });
    });
  });

  it("with a malformed name is 400", async () => {
    const text = /"Bad_Name".*1 to 63 lower-case letters, digits and dashes/;
    const wanted = { status: 400, code: "invalid_argument", exit: 2, text } as const;
    await addsNothing(async () => {
      const problem = await problemOf(await fetch(`${daemon.url}/fn/Bad_Name`));
      assert.deepEqual([problem.status, problem.code], [400, "invalid_argument"]);
      assert.match(problem.detail, text);
      const cli = ["deploy", "Bad_Name", "--image", "box:1"];
      await refused({ ...wanted, api: put("Bad_Name", "box:1"), cli });
      const query = "/v1/functions?namespace=Bad_Name";
      await refused({ ...wanted, api: ["GET", query], cli: ["functions", "-n", "Bad_Name"] });
    });
  });

  it("with an unknown field is 400, and the field named", async () => {
    const body = { image: "box:1", memory: 1 };
    const wanted = { status: 400, code: "invalid_argument", exit: 2, text: /unknown field "memory"/ } as const;
    await addsNothing(() => refused({ ...wanted, api: ["PUT", "/v1/functions/f", body] }));
  });

  it("with a body over its limit is 413, and so is the admin API", async () => {
    const body = { image: "box:1", command: ["/bin/wc", "-c"], maxBodyBytes: 1000 };
    const deployed = await daemon.admin("PUT", "/v1/functions/small", body);
    assert.equal(deployed.status, 201, await deployed.text());
    await addsNothing(async () => {
      const sent = { method: "POST", body: "x".repeat(1001) };
      const problem = await problemOf(await fetch(`${daemon.url}/fn/small`, sent));
      assert.deepEqual([problem.status, problem.type], [413, "urn:mayfly:problem:body-too-large"]);
      assert.match(problem.detail, /1000 bytes/);
      const { code, stderr } = await mayfly(["invoke", ...stateFlags(folder), "small"], { input: sent.body });
      assert.ok(code !== 0);
      assert.match(stderr, /1000 bytes/);
      const wanted = { status: 413, type: "body-too-large", code: "resource_exhausted", exit: 75 } as const;
      const huge = { image: "box:1", env: { A: "x".repeat(2 << 20) } };
      await refused({ ...wanted, text: /1048576 bytes/, api: ["PUT", "/v1/functions/f", huge] });
    });
  });
});

describe("a reference that is malformed", () => {
  for (
    const [reference, text] of [
      ["Bad/Name:1", /must be lower case: want "bad\/name"/],
      ["name:!", /the tag "!" may have/],
      ["name@sha256:abc", /the digest "sha256:abc" must be/],
    ] as const
  ) {
    it(`as ${reference} is 400, wherever it stands`, async () => {
      const wanted = { status: 400, code: "invalid_argument", exit: 2, text } as const;
      await addsNothing(async () => {
        await refused({ ...wanted, api: pull(reference), cli: ["pull", reference] });
        await refused({ ...wanted, api: put("f", reference), cli: ["import", box, "--name", reference] });
      });
    });
  }
});

describe("a configuration with an unknown key", () => {
  it("is refused with the known ones named, by every command", async () => {
    const file = join(folder, "config.json");
    writeFileSync(file, JSON.stringify({ rooot: "/x" }));
    for (const command of ["serve", "images"]) {
      const { code, stderr } = await mayfly([command, "--config", file]);
      assert.equal(code, 2);
      assert.match(stderr, /config\.json has an unknown key "rooot": known are root, run,/);
    }
    const { code, stderr } = await cli(["images", "--rooot", "x"]);
    assert.equal(code, 2);
    assert.match(stderr, /--rooot.*usage: mayfly images/s);
  });

  it("in a plugin's settings is refused, and so is a plugin that there is not", async () => {
    const state = ["--root", join(folder, "other/root"), "--run", join(folder, "other/run")];
    for (
      const [plugins, text] of [
        [{ "runtime/native": { foo: 1 } }, /"runtime\/native".*unknown field "foo": it has cgroupParent/],
        [{ "runtime/nativ": {} }, /"runtime\/nativ".*there are .*runtime\/native/],
      ] as const
    ) {
      const { code, stderr } = await mayfly(["serve", ...state, "--plugins", JSON.stringify(plugins)]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, text);
    }
    assert.deepEqual(leftovers(join(folder, "other")), []);
  });
});

/** Runs a command through another one, which changes what it is allowed or what it sees. */
async function through(wrapper: readonly string[], home: string, args: readonly string[]): Promise<Finished> {
  const [program = "", ...rest] = [...wrapper, ...await sameHost(main), ...args];
  const child = spawn(program, rest, { env: { ...process.env, HOME: home }, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => stdout += chunk);
  child.stderr.on("data", (chunk) => stderr += chunk);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, stdout, stderr };
}

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

describe("a kernel that lacks overlay", () => {
  let at = "";
  let lacking: readonly string[] = [];

  before(() => {
    at = mkdtempSync(join(tmpdir(), "mayfly-bad-"));
    const file = join(at, "filesystems");
    writeFileSync(file, "nodev\tproc\nnodev\ttmpfs\n\text4\n");
    lacking = ["unshare", "-m", "sh", "-c", `mount --bind ${file} /proc/filesystems && exec "$@"`, "sh"];
  });
  after(() => rmSync(at, { recursive: true, force: true }));

  const run = (command: string, ...args: readonly string[]) =>
    through(lacking, process.env["HOME"] ?? "/", [command, ...stateFlags(at), ...args]);

  it("is served by copies", async () => {
    const imported = await run("import", box);
    assert.equal(imported.code, 0, imported.stderr);
    const { code, stdout, stderr } = await run("run", "box:1", "echo", "copied");
    assert.deepEqual([code, stdout], [0, "copied\n"], stderr);
    assert.deepEqual(leftovers(at), ["snapshot native/1"]);
  });

  it("is told of with its cure, where overlay is asked for", async () => {
    for (const command of [["serve", "--listen", "off"], ["images"]]) {
      const [name = "", ...args] = command;
      const { code, stderr } = await run(name, ...args, "--snapshotter", "overlay");
      assert.equal(code, 78, stderr);
      assert.match(stderr, /no overlay filesystem: load it \(modprobe overlay\), or use .*--snapshotter native/);
    }
    const { code, stderr } = await run("run", "--snapshotter", "overlay", "box:1", "true");
    assert.equal(code, 2, stderr);
    assert.match(stderr, /no snapshotter "overlay" is running: there are native/);
  });

  it("is shown by doctor and plugins", async () => {
    const doctor = await run("doctor");
    assert.equal(doctor.code, 0, doctor.stderr);
    assert.match(doctor.stdout, /^warn {2}overlay .*\n.*modprobe overlay$/m);
    const plugins = await run("plugins", "--json");
    const items = JSON.parse(plugins.stdout) as { kind: string; id: string; state: string; reason?: string }[];
    const overlay = items.find(({ kind, id }) => kind === "snapshotter" && id === "overlay");
    assert.equal(overlay?.state, "unavailable");
    assert.match(overlay?.reason ?? "", /modprobe overlay/);
  });
});

describe("a user who is not root", () => {
  const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
  let home = "";

  before(() => {
    home = mkdtempSync(join(tmpdir(), "mayfly-bad-"));
    chownSync(home, 65534, 65534);
    // As /var/lib and /run are.
    chmodSync(folder, 0o755);
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  /** Skips a test where this checkout is in a folder of root's alone. */
  function readable(context: TestContext): boolean {
    const [program = "", ...rest] = nobody;
    const there = spawnSync(program, [...rest, "test", "-r", main, "-a", "-x", process.execPath]).status === 0;
    if (!there) context.skip(`${main} can be read by root alone`);
    return there;
  }

  /** Who has no id in a user namespace cannot make another. */
  const without = ["unshare", "--user"];

  it("cannot open a daemon without user namespaces, and is told how", async () => {
    const none = join(folder, "none");
    const flags = ["--root", join(none, "root"), "--run", join(none, "run")];
    for (const command of [["serve", "--listen", "off"], ["images"], ["run", "box:1", "true"]]) {
      const [name = "", ...args] = command;
      const { code, stderr } = await through(without, folder, [name, ...flags, ...args]);
      assert.equal(code, 78, stderr);
      assert.match(stderr, /as uid 65534: no user namespace can be had \(clone3: EPERM\): .*; or use sudo/m);
    }
    assert.ok(!existsSync(none));
  });

  it("cannot reach root's daemon", async (context) => {
    if (!readable(context)) return;
    const { code, stderr } = await through(nobody, home, ["images", ...stateFlags(folder)]);
    assert.ok(code === 77 || code === 78, stderr);
    assert.match(stderr, /mayfly\.sock.*use sudo/);
  });

  it("is told by doctor", async (context) => {
    if (!readable(context)) return;
    const { code, stdout } = await through(nobody, home, ["doctor", ...stateFlags(folder)]);
    assert.equal(code, 0);
    assert.match(stdout, /^ok {4}user .*uid 65534, root in a user namespace/m);
    for (const lost of ["ids", "cgroups", "runtimes", "rights"]) {
      assert.match(stdout, new RegExp(`^warn {2}${lost} .*\n +→ `, "m"));
    }
    const hide = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /proc/version && exec "$@"', "sh"];
    const masked = await through([...hide, ...nobody], home, ["doctor", ...stateFlags(folder)]);
    assert.equal(masked.code, 1);
    assert.match(
      masked.stdout,
      /^BAD {3}user .* no \/proc can be mounted in a user namespace \(EPERM\)\n.*unmask=ALL/m,
    );
    const lacking = await through(without, folder, ["doctor", ...stateFlags(folder)]);
    assert.equal(lacking.code, 1);
    assert.match(lacking.stdout, /^BAD {3}user .*uid 65534, and no user namespace can be had.*\n.*sudo$/m);
  });
});

it("leaves no lease, no container and no half snapshot behind all of this", async () => {
  assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
  const metadata = await openMetadata({ root: join(folder, "root") });
  try {
    assert.deepEqual(await metadata.leases.list(), []);
    assert.deepEqual(await metadata.containers.list(), []);
    for (const id of ["overlay", "native"]) {
      const half = (await metadata.snapshots(id).list()).filter(({ kind }) => kind !== "committed");
      assert.deepEqual(half, []);
    }
    assert.deepEqual(leftovers(folder).filter((line) => !/^(?:snapshot|ingest) /.test(line)), []);
  } finally {
    await metadata.close();
  }
});
