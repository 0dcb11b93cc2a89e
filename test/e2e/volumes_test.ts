import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Descriptor, mediaTypes } from "../../src/core/descriptor.ts";
import { tarOf } from "../images/tar_bytes.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { leftovers } from "../support/leftovers.ts";
import { commandsOn, MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

/** A file's descriptor with its name. */
const titled = (blob: Descriptor, title: string, more: Readonly<Record<string, string>> = {}): Descriptor => ({
  ...blob,
  annotations: { "org.opencontainers.image.title": title, ...more },
});

describe("images that are mounted into functions", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-volumes-"));
  const { run, out } = commandsOn(folder);
  let daemon: MayflyProcess;
  let box: string;
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "error", "--max-prepared", "4"]);
  const call = async (name: string) => (await fetch(`${daemon.url}/fn/${name}`, { method: "POST" })).text();
  const deploy = (name: string, script: string, ...flags: readonly string[]) =>
    out("deploy", name, "--image", "box:1", ...flags, "--", "sh", "-c", script);
  const volume = "type=image,source=data:1,target=/data";

  before(async () => {
    await start();
    box = makeBusyboxImage(folder, "box:1");
    await out("import", box);
    const made = new LayoutFolder(join(folder, "data"));
    const layers = [
      tarOf({ path: "model", content: "weights" }, { path: "old", content: "old" }, {
        path: "root",
        content: "#!/bin/sh\nid -u\n",
        mode: 0o4755,
      }),
      tarOf(
        { path: ".wh.old" },
        { path: "etc/leads", type: "2", link: "../../etc/hostname" },
        {
          path: "more",
          content: "2",
        },
        { path: "links/deep", type: "2", link: "/" },
        { path: "links/up", type: "2", link: "../../../etc/hostname" },
        {
          path: "etc/hostname",
          content: "root",
        },
        { path: "fifo", type: "6" },
        { path: "links/circle", type: "2", link: "circle" },
      ),
    ];
    const one = made.image([tarOf({ path: "model", content: "other" })]);
    const data = made.image(layers);
    await out("import", made.name({ "data:1": data, "tree:1": data, "one:1": one, "localhost:1/own:1": one }));
    const files = new LayoutFolder(join(folder, "files"));
    // oras gives that type to files of which nobody says what they are.
    const artifact = (contents: Readonly<Record<string, string>>, type: string = mediaTypes.layer) =>
      files.artifact(Object.entries(contents).map(([title, text]) => titled(files.put(type, text), title)));
    await out(
      "import",
      files.name({
        "files:1": artifact({ "model.bin": "weights", "part/1": "one", "part/deep/ü": "two" }),
        "files:2": artifact({ "model.bin": "newer" }, "text/plain"),
        "up:1": artifact({ "../up": "no" }),
        "root:1": artifact({ "/etc/passwd": "no" }),
        "both:1": artifact({ "a": "file", "a/b": "in a folder" }),
        "untitled:1": files.artifact([files.put("text/plain", "who am I?")]),
        "folder:1": files.artifact([
          titled(files.put(mediaTypes.layerGzip, "…"), "folder", { "io.deis.oras.content.unpack": "true" }),
        ]),
      }),
    );
  });
  after(async () => {
    for (const { name } of JSON.parse(await out("functions", "--json")) as { name: string }[]) await out("rm", name);
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(leftovers(folder).filter((line) => line.startsWith("mount")), []);
    rmSync(folder, { recursive: true, force: true });
  });

  it("show their files, to be read alone, without the rights that they would give", async () => {
    const script = "ls /data; cat /data/model; touch /data/x 2>&1; grep ' /data ' /proc/mounts";
    await deploy("reads", script, "--mount", volume);
    const text = await call("reads");
    assert.match(text, /^etc\nfifo\nlinks\nmodel\nmore\nroot\nweightstouch: \/data\/x: Read-only file system\n/);
    assert.match(text, / \/data overlay ro,nosuid,nodev/);
    assert.equal(await call("reads"), text);
  });

  for (const snapshotter of ["native", "erofs"]) {
    it(`do so on ${snapshotter}, and of one layer`, async () => {
      const one = ["--mount", "type=image,source=one:1,target=/one", "--snapshotter", snapshotter];
      await deploy(snapshotter, "cat /one/model /data/model; touch /one/x || echo no", "--mount", volume, ...one);
      assert.equal(await call(snapshotter), "otherweightsno\n");
    });
  }

  it("are what the name meant at the deployment, stay while a revision names them, and outlive a crash", async () => {
    await deploy("kept", "cat /data/model", "--mount", volume, "--prepared", "1");
    const { items } = await (await daemon.admin("GET", "/v1/images")).json() as { items: { name: string }[] };
    assert.ok(items.some(({ name }) => name.endsWith("/data:1")));
    await out("rmi", "data:1");
    await out("tag", "one:1", "data:1");
    await out("gc");
    assert.equal(await call("kept"), "weights");
    await daemon.end("SIGKILL");
    await start();
    assert.equal(await call("kept"), "weights");
    await deploy("kept", "cat /data/model", "--mount", volume);
    assert.equal(await call("kept"), "other");
    const { mounts } = await (await daemon.admin("GET", "/v1/functions/kept")).json() as {
      mounts: { digest: string }[];
    };
    assert.match(mounts[0]?.digest ?? "", /^sha256:/);
  });

  it("are the namespace's own, whatever digest somebody says", async () => {
    await out("import", box, "-n", "other");
    const { items } = await (await daemon.admin("GET", "/v1/images")).json() as {
      items: { name: string; target: { digest: string } }[];
    };
    const { digest } = items.find(({ name }) => name === "localhost:1/own:1")?.target ?? { digest: "" };
    const put = async (source: string) => {
      const mounts = [{ type: "image", source, target: "/d", digest }];
      const answer = await daemon.admin("PUT", "/v1/functions/thief?namespace=other", { image: "box:1", mounts });
      return { status: answer.status, text: await answer.text() };
    };
    assert.match(digest, /^sha256:/);
    assert.match((await put("localhost:1/own:1")).text, /cannot (?:resolve|reach|pull) .*localhost:1/);
    assert.equal((await put("!! no reference !!")).status, 400);
    const { status, text } = await put("box:1");
    assert.equal(status, 201, text);
    assert.ok(!text.includes(digest), text);
    await out("rm", "thief", "-n", "other");
  });

  it("show a file or folder of theirs alone, and links in them lead nowhere else", async () => {
    const mount = (subpath: string, target: string, source = "tree:1") =>
      ["--mount", `type=image,source=${source},target=${target},subpath=${subpath}`] as const;
    const all = [
      ...mount("etc", "/a"),
      ...mount("links/deep/model", "/b"),
      ...mount("links/up", "/c"),
      ...mount("part/deep", "/d", "files:1"),
      ...mount("./model", "/e", "one:1"),
    ];
    for (const snapshotter of ["overlay", "native"]) {
      await deploy("sub", "ls -l /a | grep -c leads; cat /b /c /d/* /e", ...all, "--snapshotter", snapshotter);
      assert.equal(await call("sub"), "1\nweightsroottwoother");
    }
  });

  it("are in containers that only run, too, with what else is mounted in them", async () => {
    const tree = "type=image,source=tree:1,target=/data";
    const bind = join(folder, "bind");
    mkdirSync(bind);
    writeFileSync(join(bind, "own"), "bound");
    const mounts = ["-v", `${bind}:/data/etc`, "--mount", tree, "--mount", "type=image,source=files:1,target=/files"];
    const script = "cat /data/model /data/etc/own /files/part/1; touch /data/x || echo no";
    assert.equal(await out("run", ...mounts, "box:1", "sh", "-c", script), "weightsboundoneno\n");
    const { code, stderr } = await run("run", "--mount", tree, "box:1", "/data/root");
    assert.notEqual(code, 0);
    assert.match(stderr, /mounted over the image/);
    await until(() => readdirSync(join(folder, "root/artifacts")).length <= 1);
  });

  it("of an artifact are its blobs, by their titles, for all users to read", async () => {
    const script =
      "find . -type f | sort; cat model.bin part/1 part/deep/*; stat -c %a model.bin part; echo no > model.bin || true";
    const mount = ["--mount", "type=image,source=files:1,target=/m", "--workdir", "/m"];
    await deploy("files", `exec 2>&1; ${script}`, ...mount, "--user", "1000:1000");
    const text = await call("files");
    assert.match(text, /^\.\/model\.bin\n\.\/part\/1\n\.\/part\/deep\/ü\nweightsonetwo444\n755\n/);
    assert.match(text, /Read-only file system|Permission denied/);
    await deploy("writes", "chmod 777 /m/model.bin; rm /m/model.bin; cat /m/model.bin", ...mount);
    assert.equal(await call("writes"), "weights");
  });

  it("of an artifact are what the name meant at the deployment, and outlive a crash", async () => {
    await deploy("pinned", "cat /m/model.bin", "--mount", "type=image,source=files:1,target=/m", "--prepared", "1");
    await out("rmi", "files:1");
    await out("tag", "files:2", "files:1");
    await out("gc");
    assert.equal(await call("pinned"), "weights");
    await daemon.end("SIGKILL");
    await start();
    assert.equal(await call("pinned"), "weights");
    await deploy("pinned", "cat /m/model.bin", "--mount", "type=image,source=files:1,target=/m");
    assert.equal(await call("pinned"), "newer");
    await out("rm", "pinned");
    await until(() => readdirSync(join(folder, "root/artifacts")).length === 0);
  });

  it("are refused where they cannot be had, by name", async () => {
    const refused = async (why: RegExp, ...args: readonly string[]) => {
      const { code, stderr } = await run("deploy", "no", "--image", "box:1", ...args, "--", "true");
      assert.notEqual(code, 0);
      assert.match(stderr, why);
    };
    await refused(/"host"/, "--mount", volume, "--userns", "auto");
    await refused(/image|source/, "--mount", "type=image,target=/data");
    await refused(/localhost:1/, "--mount", "type=image,source=localhost:1/nothing:1,target=/data");
    for (const absent of ["nothing", "model/x", "links/circle", "links/deep/proc/self"]) {
      await refused(
        /it is not there, want a file or folder/,
        "--mount",
        `type=image,source=tree:1,target=/data,subpath=${absent}`,
      );
    }
    await refused(/a pipe/, "--mount", `type=image,source=tree:1,target=/data,subpath=fifo`);
    await refused(/"\.\."/, "--mount", `type=image,source=tree:1,target=/data,subpath=etc/../..`);
    await refused(/before it/, "--mount", `type=image,source=tree:1,target=/data,subpath=/etc`);
    await refused(/"\.\.\/up".*"\.\."/, "--mount", "type=image,source=up:1,target=/m");
    await refused(/begins with a slash/, "--mount", "type=image,source=root:1,target=/m");
    await refused(/two of its files/, "--mount", "type=image,source=both:1,target=/m");
    await refused(/has no title/, "--mount", "type=image,source=untitled:1,target=/m");
    await refused(/packed into an archive/, "--mount", "type=image,source=folder:1,target=/m");
    const artifact = await run("deploy", "no", "--image", "files:2");
    assert.notEqual(artifact.code, 0);
    assert.match(artifact.stderr, /it is an artifact/);
    await refused(/a path that is not/, "--mount", "type=image,source=data:1,target=/proc/x");
  });

  it("are what the name meant when a container was made, as long as it is there", async () => {
    await out("tag", "tree:1", "lives:1");
    await out("tag", "files:2", "lives:2");
    const mounts = ["lives:1,target=/data", "lives:2,target=/m"].flatMap((
      of,
    ) => ["--mount", `type=image,source=${of}`]);
    const script = "cat /data/model /m/model.bin; echo; sleep 1000";
    await out("run", "-d", "--name", "lives", ...mounts, "box:1", "sh", "-c", script);
    for (const name of ["lives:1", "lives:2", "tree:1", "files:2"]) await out("rmi", name);
    await out("tag", "one:1", "lives:1");
    const lines = async (count: number) =>
      await until(async () => (await out("logs", "lives")) === "weightsnewer\n".repeat(count));
    await lines(1);
    await out("stop", "--time", "0", "lives");
    await out("gc");
    await out("start", "lives");
    await lines(2);
    await daemon.end("SIGKILL");
    await start();
    await out("gc");
    await out("start", "lives");
    await lines(3);
    await out("rm", "-f", "lives");
    assert.deepEqual(leftovers(folder).filter((line) => line.startsWith("mount")), []);
  });
});
