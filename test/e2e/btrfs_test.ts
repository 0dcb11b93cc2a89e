import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { mountBtrfs } from "../support/btrfs_mount.ts";
import { World } from "../support/world.ts";

describe("a daemon whose root is on btrfs", () => {
  let mount: ReturnType<typeof mountBtrfs>;
  let world: World;

  before(async () => {
    mount = mountBtrfs();
    world = await World.open({ root: join(mount.path, "root"), snapshotter: "btrfs" });
  });
  after(async () => {
    try {
      await world[Symbol.asyncDispose]();
    } finally {
      mount[Symbol.dispose]();
    }
  });

  it("unpacks images into subvolumes", async () => {
    const { items } = await world.admin<{ items: { id: string; kind: string; state: string }[] }>("GET", "/v1/plugins");
    assert.equal(items.find(({ id, kind }) => id === "btrfs" && kind === "snapshotter")?.state, "running");
    await world.script("hello", "echo hello");
    const subvolumes = execFileSync("btrfs", ["subvolume", "list", "-r", mount.path], { encoding: "utf8" });
    assert.match(subvolumes, /root\/snapshots\/btrfs\/\d+\/fs\n$/);
  });

  it("runs functions over a view, with what they write in memory", async () => {
    await world.script("write", "echo one >/new; cat /new; grep ' / / ' /proc/self/mountinfo");
    for (let round = 0; round < 3; round++) {
      const { status, body } = await world.curl("/fn/write", "--data-binary", "");
      assert.equal(status, 200, body);
      assert.match(body, /^one\n.* - overlay overlay .*upperdir=/);
    }
    const subvolumes = execFileSync("btrfs", ["subvolume", "list", mount.path], { encoding: "utf8" });
    assert.equal(subvolumes.trim().split("\n").length, 1);
  });

  it("keeps what a container changes in a subvolume of its own, and commits it", async () => {
    const post = <T>(path: string, body?: unknown) => world.admin<T>("POST", `/v1/containers${path}`, body);
    const { id } = await post<{ id: string }>("", {
      image: "box:1",
      command: ["/bin/sh", "-c", "echo kept >/made; rm /etc/group"],
    });
    await post(`/${id}/start`);
    await post(`/${id}/wait`);
    const { items } = await world.admin<{ items: { kind: string; path: string }[] }>(
      "GET",
      `/v1/containers/${id}/changes`,
    );
    const changes = items.map(({ kind, path }) => `${kind} ${path}`);
    assert.ok(changes.includes("A /made") && changes.includes("D /etc/group"), changes.join("\n"));
    const archive = await world.ask("GET", `/v1/containers/${id}/archive?path=/made`);
    assert.match(await archive.text(), /kept\n/);
    await post(`/${id}/commit`, { name: "kept:1", changes: ['CMD ["cat", "/made"]', "ENTRYPOINT []"] });
    await world.admin("DELETE", `/v1/containers/${id}`);
    await world.admin("PUT", "/v1/functions/kept", { image: "kept:1", command: ["cat", "/made"] });
    assert.equal((await world.curl("/fn/kept", "--data-binary", "")).body, "kept\n");
  });
});
