import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { generateSpec } from "../../src/tasks/spec.ts";

/*
 * The reference runtimes are given what is generated here: what they run is a configuration by the specification.
 */

const busybox = "/bin/busybox";
const root = process.getuid?.() === 0;

function missing(runtime: string): string | false {
  if (!root) return "needs root";
  if (!existsSync(busybox)) return `no ${busybox}: install busybox-static`;
  return spawnSync(runtime, ["--version"]).status === 0 ? false : `no ${runtime}: install it`;
}

/** What the container says of itself. */
const script = `
id -u; id -g; id -G; hostname; pwd; echo "$FROM_IMAGE $HOME"
grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status
cat /proc/self/oom_score_adj; ulimit -n; ls /dev | tr '\\n' ' '; echo
unshare -m true 2>&1 | tail -1; cat /proc/interrupts | wc -c; (echo x > /proc/sys/kernel/hostname) 2>&1 | tail -1
exit 7
`;

for (const runtime of ["crun", "runc"]) {
  describe(`${runtime} runs a generated configuration`, { skip: missing(runtime) }, () => {
    let bundle = "";
    before(() => {
      bundle = mkdtempSync(join(tmpdir(), "mayfly-bundle-"));
      mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
      for (const folder of ["etc", "proc", "dev", "sys", "work"]) mkdirSync(join(bundle, "rootfs", folder));
      copyFileSync(busybox, join(bundle, "rootfs/bin/busybox"));
      for (
        const name of ["sh", "id", "hostname", "grep", "cat", "ls", "tr", "tail", "unshare", "wc", "true"]
      ) {
        symlinkSync("busybox", join(bundle, "rootfs/bin", name));
      }
      chmodSync(bundle, 0o755);
    });
    after(() => rmSync(bundle, { recursive: true, force: true }));

    const run = (user: string) => {
      const id = `mayfly-test-${process.pid}-${Math.random().toString(16).slice(2, 10)}`;
      const spec = generateSpec({
        id,
        image: {
          os: "linux",
          architecture: "amd64",
          config: {
            Env: ["FROM_IMAGE=yes"],
            WorkingDir: "/work",
            User: user,
            Entrypoint: ["/bin/sh"],
            Cmd: ["-c", script],
          },
          rootfs: { type: "layers", diff_ids: [] },
        },
        oomScoreAdj: 100,
        settings: { memoryBytes: 64 * 1024 * 1024, cpus: 0.5, pids: 32 },
        accounts: {
          passwd: "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh",
          group: "web:x:1001:\nwww:x:33:web",
        },
      });
      writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
      // Some releases of crun refuse a hierarchy of both cgroup versions.
      const command = `umount /sys/fs/cgroup/unified 2>/dev/null; exec ${runtime} run --bundle ${bundle} ${id}`;
      const { status, stdout, stderr } = spawnSync("unshare", ["-m", "sh", "-c", command], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
        timeout: 30_000,
      });
      return { id, status, lines: stdout.trimEnd().split("\n"), stderr };
    };

    it("as root", () => {
      const { id, status, lines, stderr } = run("");
      assert.equal(status, 7, stderr);
      assert.deepEqual(lines.slice(0, 6), ["0", "0", "0", id.slice(-12), "/work", "yes /root"]);
      assert.deepEqual(lines.slice(6, 10), [
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
      ]);
      assert.deepEqual(lines.slice(10, 12), ["100", "1024"]);
      for (const node of ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue"]) {
        assert.ok(lines[12]?.split(" ").includes(node), `/dev/${node} is in ${lines[12]}`);
      }
      assert.match(lines[13] ?? "", /Operation not permitted/);
      assert.equal(lines[14], "0");
      assert.match(lines[15] ?? "", /Read-only file system/);
    });

    it("as another user", () => {
      const { status, lines, stderr } = run("web");
      assert.equal(status, 7, stderr);
      assert.deepEqual(lines.slice(0, 3), ["1000", "1001", "1001 33"]);
      assert.deepEqual(lines[5], "yes /srv");
      assert.deepEqual(lines.slice(6, 8), ["CapEff:\t0000000000000000", "CapBnd:\t00000000a80425fb"]);
    });
  });
}
