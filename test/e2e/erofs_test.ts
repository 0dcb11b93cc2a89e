import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { tarOf } from "../images/tar_bytes.ts";
import { LayoutFolder } from "../support/layout_folder.ts";
import { World } from "../support/world.ts";

describe("a daemon whose layers are EROFS images", () => {
  let world: World;

  before(async () => {
    world = await World.open({ snapshotter: "erofs" });
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const layers = () =>
    readFileSync("/proc/mounts", "utf8").split("\n").filter((line) => / erofs ro\b/.test(line))
      .filter((line) => line.includes(` ${world.folder}/run/erofs/`));

  it("unpacks images without making their files", async () => {
    const { items } = await world.admin<{ items: { id: string; kind: string; state: string }[] }>("GET", "/v1/plugins");
    assert.equal(items.find(({ id, kind }) => id === "erofs" && kind === "snapshotter")?.state, "running");
    await world.script("hello", "echo hello");
    const folder = join(world.folder, "root/snapshots/erofs");
    assert.deepEqual(readdirSync(folder).flatMap((id) => readdirSync(join(folder, id))), ["image"]);
  });

  it("runs functions over a view, with what they write in memory", async () => {
    await world.script("write", "echo one >/new; cat /new; grep ' / / ' /proc/self/mountinfo");
    for (let round = 0; round < 3; round++) {
      const { status, body } = await world.curl("/fn/write", "--data-binary", "");
      assert.equal(status, 200, body);
      assert.match(body, /^one\n.* - overlay overlay .*upperdir=/);
    }
    assert.equal(layers().length, 1);
  });

  it("runs functions with users of their own, on OCI runtimes too", async () => {
    const settings = { image: "box:1", command: ["/bin/sh", "-c", "echo mine >/file; stat -c %u:%g /file /bin"] };
    await world.admin("PUT", "/v1/functions/own", { ...settings, userns: "auto" });
    await world.admin("PUT", "/v1/functions/crun", { ...settings, runtime: "crun" });
    for (const name of ["own", "crun"]) {
      const { status, body } = await world.curl(`/fn/${name}`, "--data-binary", "");
      assert.deepEqual([status, body], [200, "0:0\n0:0\n"]);
    }
  });

  it("mounts each of 40 layers once", async () => {
    const box = layers().length;
    const made = new LayoutFolder(join(world.folder, "made"));
    const busybox = { path: "bin/sh", content: readFileSync("/bin/busybox"), mode: 0o755 };
    const all = Array.from({ length: 40 }, (_, i) =>
      tarOf(
        ...i === 0 ? [busybox] : [],
        { path: `layer-${i}`, content: String(i) },
        { path: "all", type: "5" },
        { path: `all/${i}`, content: "" },
        ...i === 20 ? [{ path: ".wh.layer-3" }, { path: "link", type: "1", link: "layer-5" }] : [],
      ));
    await world.admin("POST", "/v1/images/import", { path: made.name({ "deep:1": made.image(all) }), name: "deep:1" });
    const command = ["/bin/sh", "-c", "for n in all/*; do echo; done; cat layer-0 layer-39 link; [ ! -e layer-3 ]"];
    await world.admin("PUT", "/v1/functions/deep", { image: "deep:1", command });
    for (const _ of [1, 2]) {
      const { body } = await world.curl("/fn/deep", "--data-binary", "");
      assert.equal(body, `${"\n".repeat(40)}0395`);
    }
    assert.equal(layers().length - box, 40);
  });

  it("keeps what a container changes in a folder of its own, and commits it", async () => {
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
    await post(`/${id}/commit`, { name: "kept:1", changes: ['CMD ["cat", "/made"]', "ENTRYPOINT []"] });
    await world.admin("DELETE", `/v1/containers/${id}`);
    await world.admin("PUT", "/v1/functions/kept", { image: "kept:1", command: ["cat", "/made"] });
    assert.equal((await world.curl("/fn/kept", "--data-binary", "")).body, "kept\n");
  });

  it("unmounts what garbage collection removes, and the rest at its end", async () => {
    assert.ok(layers().length > 40);
    await world.ask("DELETE", "/v1/functions/deep");
    await world.ask("DELETE", "/v1/images?name=deep:1");
    await world.admin("POST", "/v1/gc", {});
    assert.equal(layers().length, 2);
    await world.drain();
    assert.deepEqual(layers(), []);
  });
});
