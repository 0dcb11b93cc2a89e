import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { tarOf } from "../images/tar_bytes.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { OrdinaryUser, UserDaemon } from "../support/ordinary_user.ts";
import { until } from "../support/until.ts";

const uid = 61_234;

/** An image that a user may read. */
function imageOf(user: OrdinaryUser): string {
  const folder = join(user.folder, "image");
  mkdirSync(folder);
  const layout = makeBusyboxImage(folder, "box:1");
  user.own(folder);
  return layout;
}

/** One over it, with what is only root's to make, and with hidden files. */
function oddImageOf(user: OrdinaryUser): string {
  const folder = join(user.folder, "odd");
  mkdirSync(folder);
  const layout = new LayoutFolder(folder);
  const base = readFileSync(join(user.folder, "image/layer.tar"));
  const odd = tarOf(
    { path: "whose", uid: 1000, gid: 29, mode: 0o4755, content: "x" },
    { path: "node", type: "3", major: 1, minor: 5 },
    { path: "labelled", pax: { "SCHILY.xattr.security.selinux": "label", "SCHILY.xattr.user.mine": "kept" } },
    { path: "etc/.wh.group" },
    { path: "root/below/", type: "5" },
    { path: "root/below/file", content: "hidden" },
  );
  const opaque = tarOf({ path: "root/below/.wh..wh..opq" }, { path: "root/below/other", content: "seen" });
  layout.name({ "odd:1": layout.image([base, odd, opaque], { config: { Env: ["PATH=/bin"] } }) });
  user.own(folder);
  return folder;
}

const oddScript = "stat -c '%u:%g %a' /whose; ls -d /node; ls /etc /root/below; cat /labelled";

describe("a user who is not root", () => {
  const user = new OrdinaryUser({ uid });
  let daemon: UserDaemon;
  const out = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await user.run(args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const invoke = async (name: string, body = "") =>
    (await fetch(`${daemon.url}/fn/${name}`, { method: "POST", body })).text();

  before(async () => {
    const layout = imageOf(user);
    daemon = await UserDaemon.start(user);
    await out("import", layout);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await until(() => user.processes().length === 0);
    user[Symbol.dispose]();
  });

  it("serves functions, with the state in folders of the user's own", async () => {
    await out("deploy", "upper", "--image", "box:1", "--", "tr", "a-z", "A-Z");
    assert.equal(await invoke("upper", "hello"), "HELLO");
    assert.ok(existsSync(join(user.folder, "home/.local/share/mayfly/mayfly.db")));
    assert.deepEqual(readdirSync(join(user.folder, "run/mayfly")).sort(), ["lock", "mayfly.sock", "rootfs"]);
  });

  it("is root in its containers, and nobody else", async () => {
    const script = "id -u; cat /proc/self/uid_map; touch /new; stat -c %u /new /bin/sh /dev/null; ls /sys/class/net";
    await out("deploy", "who", "--image", "box:1", "--", "sh", "-c", script);
    assert.match(await invoke("who"), new RegExp(`^0\n +0 +${uid} +1\n0\n0\n65534\nlo\n$`));
  });

  it("has secrets, which are its containers' alone", async () => {
    const file = join(user.folder, "secret");
    writeFileSync(file, "of a user", { mode: 0o644 });
    await out("secret", "create", "key", "--from-file", file);
    const script = "cat /run/secrets/key; stat -c ' %u %a' /var/openfaas/secrets/key; cat /proc/mounts";
    await out("deploy", "secret", "--image", "box:1", "--secret", "key", "--", "sh", "-c", script);
    assert.match(await invoke("secret"), /^of a user 0 400\n[^]*^tmpfs \/run\/secrets tmpfs ro,nosuid,nodev,noexec/m);
    await out("rm", "secret");
    await out("secret", "rm", "key");
  });

  it("has images with what is only root's to make", async () => {
    await out("import", oddImageOf(user));
    const { stdout, stderr } = await user.run(["run", "odd:1", "sh", "-c", oddScript]);
    assert.equal(stdout, "0:0 4755\n/etc:\npasswd\n\n/root/below:\nother\n", stderr);
    assert.match(stderr, /\/node: No such file/);
  });

  it("sees the machine's network where it asks for it", async () => {
    assert.equal(
      await out("run", "--network", "host", "box:1", "ls", "/sys/class/net"),
      readdirSync("/sys/class/net").sort().map((name) => `${name}\n`).join(""),
    );
  });

  it("has ports of the machine that lead to its containers", async () => {
    const id = (await out("run", "-d", "-p", "80", "box:1", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")).trim();
    const port = /127\.0\.0\.1:(\d+)->80\/tcp/.exec(await out("ps"))?.[1];
    await until(async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/passwd`).then((answer) => answer.text(), () => "");
      return answer.startsWith("root:");
    });
    await out("rm", "-f", id);
  });

  it("has containers that live on", async () => {
    await out("run", "-d", "--name", "web", "box:1", "sh", "-c", "echo begun; rm -r /tmp; mkdir /tmp; sleep 1000");
    await until(async () => await out("logs", "web") === "begun\n");
    assert.equal(await out("exec", "web", "sh", "-c", "touch /tmp/new; rm /etc/group; id -u"), "0\n");
    assert.match(await out("top", "web"), /sleep 1000/);
    assert.equal(await out("diff", "web"), "C /etc\nD /etc/group\nC /tmp\nA /tmp/new\n");
    assert.match(await out("commit", "web", "web:1"), /^docker.io\/library\/web:1@/);
    assert.equal(await out("run", "web:1", "sh", "-c", "ls /etc /tmp"), "/etc:\npasswd\n\n/tmp:\nnew\n");
    await out("stop", "-t", "0", "web");
    await out("start", "web");
    await out("rm", "-f", "web");
  });

  it("is refused by name what is not the user's to have", async () => {
    const refused: readonly [flags: readonly string[], text: RegExp][] = [
      [
        ["--network", "bridge"],
        /by network "bridge": the daemon, which an ordinary user runs, may not make interfaces/,
      ],
      [
        ["--memory", "64m"],
        /cannot set linux\.resources\.memory\.limit: no cgroup with the memory controller is this user's to change/,
      ],
      [["--cpus", "0.5"], /cannot set linux\.resources\.cpu\.quota: no cgroup/],
      [["--pids", "9"], /cannot set linux\.resources\.pids\.limit: no cgroup/],
      [["--user", "worker"], /cannot run as 1000:1000: .*\/etc\/subuid/],
      [["--userns", "auto"], /cannot give a container users of its own/],
    ];
    for (const [flags, text] of refused) {
      const { code, stderr } = await user.run(["run", ...flags, "box:1", "true"]);
      assert.notEqual(code, 0);
      assert.match(stderr, text);
    }
  });

  it("leaves nothing over a kill, and goes on", async () => {
    const root = join(user.folder, "home/.local/share/mayfly/snapshots");
    const snapshots = () => globSync("{overlay,native}/*", { cwd: root }).length;
    await out("gc");
    const before = snapshots();
    await out("deploy", "slow", "--image", "box:1", "--", "sleep", "1000");
    const broken = fetch(`${daemon.url}/fn/slow`, { method: "POST" }).catch(() => undefined);
    await out("run", "-d", "--name", "lives", "box:1", "sh", "-c", "sleep 1000 & sleep 1000");
    await until(async () => (await out("ps")).includes("lives") && user.processes().length > 4);
    await daemon.end("SIGKILL");
    await broken;
    await until(() => user.processes().length === 0);
    daemon = await UserDaemon.start(user);
    assert.equal(await invoke("upper", "again"), "AGAIN");
    assert.match(await out("ps", "-a"), /lives.*exited \(255\)/);
    await out("start", "lives");
    await out("rm", "-f", "lives");
    await until(() => snapshots() === before);
  });

  it("does without a daemon: streams and exit status come through", async () => {
    assert.equal(await daemon.end("SIGTERM"), 0);
    const { code, stdout, stderr } = await user.run(
      ["run", "-i", "box:1", "sh", "-c", "cat; echo problem >&2; exit 7"],
      "input",
    );
    assert.deepEqual({ code, stdout, stderr }, { code: 7, stdout: "input", stderr: "problem\n" });
    await until(() => user.processes().length === 0);
    daemon = await UserDaemon.start(user);
  });
});

describe("a user who has more ids in /etc/subuid", () => {
  const first = 1_600_000_000;
  const user = new OrdinaryUser({ uid: uid + 1, subordinate: { first, size: 65_536 } });
  const out = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await user.run(args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  let daemon: UserDaemon;

  before(async () => {
    const layout = imageOf(user);
    daemon = await UserDaemon.start(user);
    await out("import", layout);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await until(() => user.processes().length === 0);
    user[Symbol.dispose]();
  });

  it("has other users in its containers, with their groups", async () => {
    assert.match(
      await out("run", "box:1", "cat", "/proc/self/uid_map"),
      new RegExp(`^ +0 +${uid + 1} +1\n +1 +${first} +65536\n$`),
    );
    assert.equal(await out("run", "-u", "worker", "box:1", "sh", "-c", "id -u; id -G"), "1000\n1000 29\n");
    assert.match((await user.run(["run", "-u", "70000", "box:1", "true"])).stderr, /cannot run as 70000:0/);
  });

  it("has images whose files are theirs", async () => {
    await out("import", oddImageOf(user));
    const { stdout } = await user.run(["run", "odd:1", "sh", "-c", oddScript]);
    assert.equal(stdout, "1000:29 4755\n/etc:\npasswd\n\n/root/below:\nother\n");
  });

  it("keeps what belongs to them", async () => {
    await out("run", "-d", "--name", "web", "box:1", "sh", "-c", "touch /f; chown 5:6 /f; exec sleep 1000");
    await until(async () => await out("exec", "web", "stat", "-c", "%u:%g", "/f") === "5:6\n");
    assert.equal(await out("exec", "-u", "worker", "web", "id", "-G"), "1000 29\n");
    await out("commit", "web", "web:1");
    assert.equal(await out("run", "web:1", "stat", "-c", "%u:%g", "/f"), "5:6\n");
    await daemon.end("SIGKILL");
    await until(() => user.processes().length === 0);
    daemon = await UserDaemon.start(user);
    await out("rm", "web");
    await out("rmi", "web:1");
    await out("gc");
  });
});

describe("a user whose daemon has a cgroup of its own", () => {
  const user = new OrdinaryUser({ uid: uid + 2 });
  const mounted = /^\S+ \S+ \S+ \/ (\S+) .* - cgroup2 /m.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1] ?? "";
  const cgroup = `${mounted}/mayfly-delegated-${process.pid}`;
  const out = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await user.run(args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const containers = () => globSync(`${cgroup}/mayfly-*/*/cgroup.procs`);
  let controllers: readonly string[] = [];
  let daemon: UserDaemon;

  before(async () => {
    const wanted = ["memory", "pids", "cpu"];
    const there = readFileSync(`${mounted}/cgroup.controllers`, "utf8").trim().split(" ");
    controllers = wanted.filter((name) => there.includes(name));
    for (const name of controllers) writeFileSync(`${mounted}/cgroup.subtree_control`, `+${name}`);
    mkdirSync(cgroup);
    // As systemd does it with Delegate=yes.
    for (const file of ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]) {
      chownSync(join(cgroup, file), user.uid, user.uid);
    }
    const layout = imageOf(user);
    daemon = await UserDaemon.start(user, { cgroup });
    await out("import", layout);
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await until(() => user.processes().length === 0);
    for (const folder of [...globSync(`${cgroup}/*/`), cgroup]) rmdirSync(folder);
    user[Symbol.dispose]();
  });

  it("can stop its containers, and go on", async () => {
    await out("run", "-d", "--name", "web", "box:1", "sh", "-c", "while true; do echo on; sleep 0.05; done");
    assert.equal(containers().length, 1);
    await out("pause", "web");
    assert.match(await out("ps"), /web.* paused /);
    await out("unpause", "web");
    assert.match(await out("top", "web"), /while true/);
    await out("rm", "-f", "web");
    await until(() => containers().length === 0);
  });

  it("keeps the limits whose controllers it was given, and refuses others by name", async () => {
    const { code, stdout, stderr } = await user.run(
      ["run", "--memory", "16m", "box:1", "cat", "/sys/fs/cgroup/memory.max"],
    );
    if (controllers.includes("memory")) assert.deepEqual([code, stdout], [0, `${16 << 20}\n`], stderr);
    else assert.match(stderr, /cannot set linux\.resources\.memory\.limit: .* Delegate=yes/);
  });

  it("leaves no cgroup over a kill", async () => {
    await out("run", "-d", "--name", "lives", "box:1", "sleep", "1000");
    assert.equal(containers().length, 1);
    await daemon.end("SIGKILL");
    await until(() => user.processes().length === 0);
    assert.equal(containers().length, 1);
    daemon = await UserDaemon.start(user, { cgroup: `${cgroup}/mayfly-self` });
    assert.equal(containers().length, 0);
  });
});
