import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { machineState } from "../support/machine_state.ts";
import { cgroupParent, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { bridgeName, ownSubnet, withoutBridges } from "../support/own_bridge.ts";
import { until } from "../support/until.ts";

const { prefix, subnet } = ownSubnet();
const serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];

describe("containers on a bridge", { skip: withoutBridges() }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-bridge-"));
  const plugins = JSON.stringify({
    "runtime/native": { cgroupParent: cgroupParent(folder) },
    "network/bridge": { name: bridgeName, subnet },
  });
  let daemon: MayflyProcess;
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--plugins", plugins]);
  const run = (...args: readonly string[]) => {
    const [command = "", ...rest] = args;
    return mayfly([command, ...stateFlags(folder), ...rest]);
  };
  const out = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const addressOf = async (id: string) => {
    const answer = await daemon.admin("GET", `/v1/tasks/${id}`);
    return (await answer.json() as { readonly addresses: readonly string[] }).addresses[0] ?? "";
  };
  const get = (address: string, path: string) =>
    fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(1000) }).then((answer) => answer.text(), () => "");
  const left = () => machineState().links.filter((link) => link.includes(bridgeName));

  before(async () => {
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(left(), []);
    rmSync(folder, { recursive: true, force: true });
  });

  for (const runtime of ["native", "crun", "runc"]) {
    const skip = runtime !== "native" && !["/usr/bin", "/usr/sbin"].some((path) => existsSync(join(path, runtime)))
      ? `${runtime} is not installed`
      : false;
    it(`has an address that the machine reaches, by ${runtime}`, { skip }, async () => {
      const id = await out("run", "-d", "--rm", "--network", "bridge", "--runtime", runtime, "box:1", ...serve);
      const address = await addressOf(id);
      assert.ok(address.startsWith(`${prefix}.`), address);
      await until(async () => await get(address, "/hostname") === `${id.slice(-12)}\n`);
      assert.match(await get(address, "/hosts"), new RegExp(`^${address}\t${id.slice(-12)}$`, "m"));
      await out("rm", "-f", id);
      await until(async () => await get(address, "/hostname") === "");
    });
  }

  it("has names by the flags that Docker's users know", async () => {
    const flags = ["--network", "bridge", "--dns", "192.0.2.53", "--add-host", "db:192.0.2.7", "--hostname", "box"];
    const text = await out("run", ...flags, "box:1", "sh", "-c", "hostname; cat /etc/hosts /etc/resolv.conf");
    assert.match(text, /^box\n127\.0\.0\.1\tlocalhost\n/);
    assert.match(text, /\tbox\n192\.0\.2\.7\tdb\nnameserver 192\.0\.2\.53\n?/);
  });

  it("has it with a terminal, and as a function's that waits for requests", async () => {
    const script = "cat; read a b < /etc/hostname; echo $a; ls /sys/class/net";
    await out("deploy", "app", "--image", "box:1", "--network", "bridge", "--prepared", "1", "--", "sh", "-c", script);
    for (const how of ["prepared", undefined]) {
      const answer = await fetch(`${daemon.url}/fn/app`, { method: "POST", body: "hello " });
      assert.match(await answer.text(), /^hello \S{12}\neth0\nlo\n$/);
      assert.equal(answer.headers.get("x-mayfly-start"), how ?? answer.headers.get("x-mayfly-start"));
    }
    assert.equal((await daemon.admin("DELETE", "/v1/functions/app")).status, 204);
    const id = await out("run", "-d", "-t", "--network", "bridge", "box:1", ...serve);
    const address = await addressOf(id);
    await until(async () => await get(address, "/hostname") !== "");
    await out("rm", "-f", id);
  });

  it("refuses by name what cannot be had", async () => {
    for (
      const [flags, told] of [
        [["--network", "bridge", "--userns", "auto"], /users of its own on network "bridge"/],
        [["--network", "bridge:red"], /bridge takes nothing behind a colon/],
        [["--network", "none", "--egress"], /cannot use egress: network "none"/],
        [["--network", "host", "--dns", "192.0.2.1"], /cannot use dns: network "host"/],
        [["--add-host", "db:192.0.2.1"], /cannot use extraHosts/],
        [["--network", "bridge", "--add-host", "db:nowhere"], /"extraHosts.0.address" is/],
        [["--network", "bridge", "--dns", "::1"], /wanted an IPv4 address/],
        [["--hostname", "a_b"], /wanted a host name/],
        [["--network", "wire"], /no network "wire" is running: there are/],
      ] as const
    ) {
      const { code, stderr } = await run("run", ...flags, "box:1", "true");
      assert.notEqual(code, 0);
      assert.match(stderr, told);
    }
  });

  it("a daemon that is killed leaves nothing behind its next start", async () => {
    const runtimes = ["native", ...existsSync("/usr/bin/crun") ? ["crun"] : []];
    for (const runtime of runtimes) {
      await out("run", "-d", "--network", "bridge", "--egress", "--runtime", runtime, "box:1", ...serve);
    }
    assert.ok(left().length >= runtimes.length + 3, left().join(" "));
    await daemon.end("SIGKILL");
    await start();
    await until(() => left().length === 0);
    assert.equal(existsSync(join(folder, "run/network", bridgeName)), false);
    // A container that lives on gets another address with its next start.
    const { items } = await (await daemon.admin("GET", "/v1/containers?all=true")).json() as {
      items: { id: string }[];
    };
    const [{ id = "" } = {}] = items;
    await out("start", id);
    await until(async () => await get(await addressOf(id), "/hostname") !== "");
    for (const { id } of items) await out("rm", "-f", id);
  });
});
