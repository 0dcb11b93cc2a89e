import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import { currentHost } from "../../src/host/mod.ts";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { OrdinaryUser } from "../support/ordinary_user.ts";
import { until } from "../support/until.ts";

const { name: host } = await currentHost();
const image = "localhost/box:1";

/** What an ordinary user's limits allow. */
const settings = [
  ...["--cgroups=no-conmon", "--cgroupns=private", "--network=none"],
  ...["--ulimit=nofile=512:512", "--ulimit=nproc=512:512"],
];

describe(`podman of a user who is not root, over src/mayfly-oci on ${host}`, () => {
  const user = new OrdinaryUser({ uid: 61_434, subordinate: { first: 1_620_000_000, size: 65_536 } });
  // Its name becomes part of an image's name, which has no capitals.
  const folder = join(tmpdir(), `mayfly-podman-user-${process.pid}`);
  const podman = (...args: readonly string[]) =>
    user.program(
      ...["env", `MAYFLY_HOST=${host}`, "podman", "--storage-driver=vfs", "--cgroup-manager=cgroupfs"],
      ...["--events-backend=file", "--log-level=error", "--runtime", user.path("src/mayfly-oci"), ...args],
    );
  const done = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await podman(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };

  before(async () => {
    mkdirSync(folder);
    const layout = makeBusyboxImage(folder, "box:1");
    user.own(folder);
    await done("pull", "--quiet", `oci:${layout}:box:1`);
    await done("tag", (await done("images", "--quiet")).trim(), image);
  });
  after(async () => {
    await podman("rm", "--all", "--force");
    await podman("unshare", "rm", "-rf", join(user.folder, "home/.local/share/containers"));
    // The process that keeps podman's user namespace.
    for (const pid of user.processes()) process.kill(pid, "SIGKILL");
    await until(() => user.processes().length === 0);
    user[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("runs a container of an image", async () => {
    const { code, stdout, stderr } = await podman("run", "--rm", ...settings, image, "sh", "-c", "id -u; exit 7");
    assert.deepEqual([code, stdout], [7, "0\n"], stderr);
    assert.equal(await done("run", "--rm", "-u", "worker", ...settings, image, "id", "-u"), "1000\n");
  });

  it("has one that lives on", async () => {
    await done("run", "--detach", "--name=one", ...settings, image, "sleep", "1000");
    assert.equal(await done("exec", "one", "id", "-u"), "0\n");
    assert.match(await done("ps", "--format={{.Names}} {{.Status}}"), /^one Up/);
    await done("rm", "--force", "--time=0", "one");
  });
});
