import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";
import type { NativeRuntime } from "../../runtimes/native/runtime.ts";
import { codeOf } from "../../src/core/errors.ts";
import type { Rootfs } from "../../src/core/mount.ts";
import type { Spec, SpecMount, SpecProcess } from "../../src/core/spec.ts";
import { makeBusyboxRoot } from "../support/busybox_image.ts";
import { busyboxRootfs, cgroupsOf, nativeRuntime, specFor } from "./native_runtime.ts";

const isRoot = process.geteuid?.() === 0;
let count = 0;

describe("id-mapped mounts of the native runtime", { skip: isRoot ? false : "it takes root" }, () => {
  const cgroupParent = `/mayfly-test-${process.pid}-idmap`;
  let folder: string;
  let data: string;
  let runtime: NativeRuntime;
  let rootfs: Rootfs;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "mayfly-idmap-"));
    makeBusyboxRoot(join(folder, "root"));
    // Who joins the users of another without their maps has a root that is the host's, and can make no folder in it.
    for (const place of ["m", "n"]) mkdirSync(join(folder, "root", place));
    data = join(folder, "data");
    mkdirSync(join(data, "below"), { recursive: true });
    for (const [name, uid, gid] of [["root", 0, 0], ["user", 1000, 1001], ["other", 42, 43]] as const) {
      writeFileSync(join(data, name), "x");
      chownSync(join(data, name), uid, gid);
    }
    chmodSync(data, 0o777);
    assert.equal(spawnSync("mount", ["-t", "tmpfs", "-o", "mode=777", "tmpfs", join(data, "below")]).status, 0);
    writeFileSync(join(data, "below/root"), "x");
    rootfs = busyboxRootfs(join(folder, "root"));
    runtime = await nativeRuntime(join(folder, "run"), cgroupParent);
  });

  after(async () => {
    await runtime[Symbol.asyncDispose]();
    assert.deepEqual(cgroupsOf(cgroupParent), []);
    spawnSync("umount", [join(data, "below")]);
    rmSync(folder, { recursive: true, force: true });
  });

  interface Changes {
    readonly linux?: Partial<Spec["linux"]>;
    readonly user?: SpecProcess["user"];
  }

  function create(script: string, mounts: readonly SpecMount[], { linux, user }: Changes = {}) {
    const base = specFor(["sh", "-c", script]);
    const spec = {
      ...base,
      process: { ...base.process, ...user === undefined ? {} : { user } },
      mounts: [...base.mounts ?? [], ...mounts],
      linux: { ...base.linux, ...linux },
    };
    return runtime.create({ id: `i${count++}`, spec, rootfs });
  }

  async function output(script: string, mounts: readonly SpecMount[], changes?: Changes): Promise<string> {
    const task = await create(script, mounts, changes);
    try {
      await task.start();
      const [stdout, stderr] = await Promise.all(
        [task.stdout, task.stderr].map((stream) => new Response(stream).text()),
      );
      assert.equal((await task.wait()).code, 0, stderr);
      return (stdout ?? "").trim().split("\n").join(" ");
    } finally {
      await task.delete();
    }
  }

  type Ranges = readonly (readonly [containerID: number, hostID: number, size: number])[];
  const ranges = (given: Ranges) => given.map(([containerID, hostID, size]) => ({ containerID, hostID, size }));

  function bind(options: readonly string[], uids: Ranges = [], gids: Ranges = uids, destination = "/m"): SpecMount {
    return {
      destination,
      source: data,
      options: [...options],
      uidMappings: ranges(uids),
      gidMappings: ranges(gids),
    };
  }

  const owners = (...paths: string[]) => `stat -c %u:%g ${paths.join(" ")}`;
  const ownUsers = (): Partial<Spec["linux"]> => ({
    namespaces: [...specFor(["true"]).linux.namespaces ?? [], { type: "user" }],
    uidMappings: ranges([[0, 100_000, 65536]]),
    gidMappings: ranges([[0, 200_000, 65536]]),
  });

  it("shows files with the ids of the mapping, of several ranges", async () => {
    const mount = bind(["bind", "idmap"], [[0, 5000, 1], [1000, 7000, 10]], [[0, 6000, 1], [1000, 8000, 10]]);
    assert.equal(
      await output(owners("/m/root", "/m/user", "/m/other"), [mount]),
      "5000:6000 7000:8001 65534:65534",
    );
    assert.equal(statSync(join(data, "user")).uid, 1000);
  });

  it("stores what is written with the ids of the source", async () => {
    const mount = bind(["bind", "idmap"], [[0, 5000, 1], [1000, 7000, 10]]);
    await output("echo x > /m/new", [mount], { user: { uid: 7003, gid: 5000 } });
    const { uid, gid } = statSync(join(data, "new"));
    rmSync(join(data, "new"));
    assert.deepEqual([uid, gid], [1003, 0]);
  });

  it("lets nobody write who is not in the mapping", async () => {
    const mount = bind(["bind", "idmap"], [[0, 5000, 1]]);
    assert.match(await output("echo x > /m/new || ls /m", [mount]), /^below other root user$/);
  });

  it("maps without the option too, as the mappings say", async () => {
    assert.equal(await output(owners("/m/root"), [bind(["bind"], [[0, 5000, 1]])]), "5000:5000");
  });

  it("maps each mount in its own way", async () => {
    const mounts = [5000, 6000, 5000].map((id, index) =>
      bind(["bind", "idmap"], [[0, id, 1]], [[0, 9, 1]], `/m${index}`)
    );
    assert.equal(await output(owners("/m0/root", "/m1/root", "/m2/root"), mounts), "5000:9 6000:9 5000:9");
    const many = Array.from({ length: 20 }, (_, index) => bind(["bind", "idmap"], [[0, 5000 + index, 1]]));
    await assert.rejects(create("true", many), (error) => codeOf(error) === "resource_exhausted");
  });

  it("idmap maps a mount alone, ridmap those below it too", async () => {
    const paths = owners("/m/root", "/m/below/root");
    const own: Ranges = [[0, 5000, 1]];
    assert.equal(await output(paths, [bind(["rbind", "idmap"], own)]), "5000:5000 0:0");
    assert.equal(await output(paths, [bind(["rbind", "ridmap"], own)]), "5000:5000 5000:5000");
    assert.equal(await output(owners("/m/root"), [bind(["bind", "ridmap", "ro"], own)]), "5000:5000");
  });

  it("has the mapping of the container's users where it has none of its own", async () => {
    const linux = ownUsers();
    const script = `${owners("/m/root", "/m/user")}; echo x > /m/new; chown 7:8 /m/new`;
    assert.equal(await output(script, [bind(["bind", "idmap"])], { linux }), "0:0 1000:1001");
    const { uid, gid } = statSync(join(data, "new"));
    rmSync(join(data, "new"));
    assert.deepEqual([uid, gid], [7, 8]);
    assert.equal(await output(owners("/m/root"), [bind(["bind"])], { linux }), "65534:65534");
  });

  it("has its own mapping in a container with users of its own", async () => {
    const mount = bind(["bind", "idmap"], [[0, 100_005, 1]], [[0, 200_006, 1]]);
    assert.equal(await output(owners("/m/root"), [mount], { linux: ownUsers() }), "5:6");
  });

  it("has the mapping of a user namespace that the container joins", async () => {
    const other = await create("read x", [], { linux: ownUsers() });
    try {
      await other.start();
      const namespaces = [
        ...specFor(["true"]).linux.namespaces ?? [],
        { type: "user" as const, path: `/proc/${other.pid}/ns/user` },
      ];
      const mounts = [bind(["bind", "idmap"]), bind(["bind", "idmap"], [], [], "/n")];
      assert.equal(await output(owners("/m/user", "/n/root"), mounts, { linux: { namespaces } }), "1000:1001 0:0");
    } finally {
      await other.delete();
    }
  });

  it("leaves no descriptor of a mapping to the container", async () => {
    const linux = ownUsers();
    for (const changes of [{}, { linux }]) {
      const mount = bind(["bind", "idmap"], [[0, 100_005, 1]]);
      const script = "for fd in /proc/self/fd/*; do readlink $fd; done | grep -c 'user:\\|ns' || true";
      assert.equal(await output(script, [mount], changes), "0");
    }
  });

  const one: Ranges = [[0, 5000, 1]];
  const tmpfs: SpecMount = { destination: "/m", type: "tmpfs", source: "tmpfs" };
  const refused: readonly (readonly [name: string, mount: SpecMount, field: string])[] = [
    ["idmap without any mapping", bind(["bind", "idmap"]), "mounts[N]"],
    ["ridmap without any mapping", bind(["rbind", "ridmap"]), "mounts[N]"],
    ["users without groups", bind(["bind", "idmap"], one, []), "mounts[N].gidMappings"],
    ["groups without users", bind(["bind", "idmap"], [], one), "mounts[N].uidMappings"],
    ["an empty range", bind(["bind", "idmap"], [[0, 5000, 0]]), "mounts[N].uidMappings"],
    ["ids of the source twice", bind(["bind", "idmap"], one, [[0, 1, 5], [4, 10, 1]]), "mounts[N].gidMappings"],
    ["ids of the mount twice", bind(["bind", "idmap"], [[5, 1, 5], [0, 5, 1]]), "mounts[N].uidMappings"],
    ["a range past the last id", bind(["bind", "idmap"], [[0, 4294967290, 6]]), "mounts[N].uidMappings"],
    [
      "more ranges than the kernel takes",
      bind(["bind", "idmap"], Array.from({ length: 341 }, (_, id) => [id, id + 1, 1] as const)),
      "mounts[N].uidMappings",
    ],
    ["a tmpfs with idmap", { ...tmpfs, options: ["idmap"] }, "mounts[N]"],
    ["a tmpfs with mappings", { ...tmpfs, uidMappings: ranges(one), gidMappings: ranges(one) }, "mounts[N]"],
  ];
  for (const [name, mount, field] of refused) {
    it(`refuses ${name} by name`, async () => {
      const wanted = field.replace("N", String(specFor(["true"]).mounts?.length ?? 0));
      // The folder was not there yet when the table was made.
      await assert.rejects(create("true", [{ ...mount, source: mount.source ?? data }]), (error) => {
        assert.equal(codeOf(error), "invalid_argument");
        assert.ok(String(error).includes(`cannot use ${wanted}:`), String(error));
        return true;
      });
    });
  }

  it("tells which source has ids that the kernel does not map", async () => {
    const mount = { ...bind(["bind", "idmap"], one), source: "/proc/sys" };
    await assert.rejects(create("true", [mount]), (error) => {
      assert.equal(codeOf(error), "invalid_argument");
      assert.match(String(error), /map the ids of "\/proc\/sys"/);
      return true;
    });
  });
});
