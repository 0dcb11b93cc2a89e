import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { OrdinaryUser } from "../support/ordinary_user.ts";
import { until } from "../support/until.ts";

const uid = 61_334;
const first = 1_610_000_000;
const users: readonly (readonly [who: string, user: OrdinaryUser, map: RegExp])[] = [
  ["a user who is not root", new OrdinaryUser({ uid }), new RegExp(`^ +0 +${uid} +1\n$`)],
  [
    "a user who has more ids in /etc/subuid",
    new OrdinaryUser({ uid: uid + 1, subordinate: { first, size: 65_536 } }),
    new RegExp(`^ +0 +${uid + 1} +1\n +1 +${first} +65536\n$`),
  ],
];

for (const [who, user, map] of users) {
  describe(`mayfly oci as ${who}`, () => {
    const bundle = join(user.folder, "bundle");
    const oci = (...args: readonly string[]) => user.run(["oci", ...args]);
    const done = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await oci(...args);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    /** Sets the container's command. */
    const command = (...args: readonly string[]) => {
      const config = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8"));
      const process = { ...config.process, args, terminal: false };
      writeFileSync(join(bundle, "config.json"), JSON.stringify({ ...config, process }));
    };

    before(async () => {
      mkdirSync(join(bundle, "rootfs"), { recursive: true });
      makeBusyboxRoot(join(bundle, "rootfs"));
      user.own(bundle);
      await done("spec", "--rootless", "--bundle", bundle);
    });
    after(async () => {
      await until(() => user.processes().length === 0);
      assert.deepEqual(readdirSync(join(user.folder, "run/mayfly-oci")).filter((name) => !name.startsWith(".")), []);
      user[Symbol.dispose]();
    });

    it("runs a container, whose exit status it has", async () => {
      command("sh", "-c", "cat /proc/self/uid_map; exit 5");
      const { code, stdout, stderr } = await oci("run", "--bundle", bundle, "one");
      assert.equal(code, 5, stderr);
      assert.match(stdout, map);
    });

    it("takes it from command to command", async () => {
      command("sleep", "1000");
      // Its output stays open in the container.
      const script = `"$@" </dev/null >/dev/null 2>&1`;
      const created = await user.run(["oci", "create", "--bundle", bundle, "two"], "", ["sh", "-c", script, "sh"]);
      assert.equal(created.code, 0);
      assert.equal(JSON.parse(await done("state", "two")).status, "created");
      await done("start", "two");
      assert.equal(JSON.parse(await done("ps", "--format", "json", "two")).length, 1);
      assert.match(await done("exec", "two", "cat", "/proc/self/uid_map"), map);
      assert.match(await done("list"), /^two .* running /m);
      await done("kill", "two", "KILL");
      await until(async () => JSON.parse(await done("state", "two")).status === "stopped");
      await done("delete", "two");
    });

    it("goes with force, running", async () => {
      const script = `"$@" </dev/null >/dev/null 2>&1`;
      const made = await user.run(["oci", "run", "-d", "--bundle", bundle, "three"], "", ["sh", "-c", script, "sh"]);
      assert.equal(made.code, 0);
      await done("delete", "--force", "three");
    });
  });
}
