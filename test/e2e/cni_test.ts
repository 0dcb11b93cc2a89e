import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { cgroupParent, mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { ownSubnet } from "../support/own_bridge.ts";
import { until } from "../support/until.ts";

const real = "/usr/lib/cni";
const skip = existsSync(join(real, "ptp"))
  ? false
  : "there are no CNI plugins: apt-get install containernetworking-plugins";
const { prefix, subnet } = ownSubnet();
const serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];

/** Writes down how it was called, and says what it was told to. */
const recorder = (folder: string) =>
  `#!/bin/sh
input=$(cat)
echo "$(basename $0) $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME netns=$CNI_NETNS $input" >> ${folder}/calls
test -e ${folder}/fail-$CNI_COMMAND && { echo '{"cniVersion":"1.0.0","code":7,"msg":"it is","details":"told to fail"}'; exit 1; }
test $CNI_COMMAND = ADD && echo '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/24"}],"dns":{"nameservers":["192.0.2.53"]}}'
exit 0
`;

describe("CNI networks", { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-cni-"));
  const [configurations, programs, leases] = ["net.d", "bin", "leases"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const plugins = JSON.stringify({
    "runtime/native": { cgroupParent: cgroupParent(folder) },
    "network/cni": { configurations, programs: [programs, real], timeoutMs: 10_000 },
  });
  let daemon: MayflyProcess;
  const start = async () => daemon = await MayflyProcess.start(folder, ["--log-level", "warn", "--plugins", plugins]);
  const run = (command: string, ...args: readonly string[]) => mayfly([command, ...stateFlags(folder), ...args]);
  const out = async (command: string, ...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(command, ...args);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  const addressOf = async (id: string) => {
    const answer = await daemon.admin("GET", `/v1/containers/${id}`);
    return (await answer.json() as { readonly addresses: readonly string[] }).addresses[0] ?? "";
  };
  const get = (address: string) =>
    fetch(`http://${address}/group`, { signal: AbortSignal.timeout(1000) }).then((answer) => answer.text(), () => "");
  const leased = () =>
    existsSync(join(leases, "real")) ? readdirSync(join(leases, "real")).filter((name) => /^\d/.test(name)) : [];
  const records = () =>
    existsSync(join(folder, "root/network/cni")) ? readdirSync(join(folder, "root/network/cni")) : [];
  const calls = () => {
    const text = existsSync(join(folder, "calls")) ? readFileSync(join(folder, "calls"), "utf8") : "";
    rmSync(join(folder, "calls"), { force: true });
    return text.split("\n").filter((line) => line !== "");
  };

  before(async () => {
    for (const path of [configurations, programs]) mkdirSync(path);
    const ipam = { type: "host-local", dataDir: leases, ranges: [[{ subnet }]], routes: [{ dst: "0.0.0.0/0" }] };
    const lists = {
      real: { cniVersion: "1.0.0", name: "real", plugins: [{ type: "ptp", ipam }, { type: "tuning" }] },
      told: { cniVersion: "1.0.0", name: "told", plugins: [{ type: "one", own: 1 }, { type: "two" }] },
      missing: { cniVersion: "1.0.0", name: "missing", plugins: [{ type: "nowhere" }] },
      old: { cniVersion: "0.2.0", name: "old", plugins: [{ type: "one" }] },
      path: { cniVersion: "1.0.0", name: "path", plugins: [{ type: "../bin/one" }] },
    };
    for (const [name, list] of Object.entries(lists)) {
      writeFileSync(join(configurations, `${name}.conflist`), JSON.stringify(list));
    }
    writeFileSync(
      join(configurations, "10-single.conf"),
      JSON.stringify({ cniVersion: "1.0.0", name: "single", type: "one" }),
    );
    writeFileSync(join(configurations, "00-broken.conflist"), "{");
    for (const name of ["one", "two"]) {
      writeFileSync(join(programs, name), recorder(folder));
      chmodSync(join(programs, name), 0o755);
    }
    await start();
    await out("import", makeBusyboxImage(folder, "box:1"));
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    assert.deepEqual(leased(), []);
    rmSync(folder, { recursive: true, force: true });
  });

  for (const runtime of ["native", "crun"]) {
    it(`give an address that the machine reaches, by ${runtime}`, async () => {
      const id = await out("run", "-d", "--network", "cni:real", "--runtime", runtime, "box:1", ...serve);
      const address = await addressOf(id);
      assert.ok(address.startsWith(`${prefix}.`), address);
      await until(async () => (await get(address)).startsWith("root:"));
      assert.deepEqual(leased(), [address]);
      await out("rm", "-f", id);
      await until(() => leased().length === 0 && records().length === 0);
    });
  }

  it("call the plugins in order with what the one before said, and in reverse at the end", async () => {
    calls();
    const text = await out("run", "--network", "cni:told", "box:1", "sh", "-c", "cat /etc/hosts /etc/resolv.conf");
    assert.match(text, /^192\.0\.2\.9\t\S{12}$/m);
    assert.match(text, /^nameserver 192\.0\.2\.53$/m);
    await until(() => records().length === 0);
    const seen = calls().map((line) => {
      const [, plugin, command, id, name, netns, input = ""] =
        /^(\S+) (\S+) (\S+) (\S+) netns=(\S*) (.*)$/.exec(line) ?? [];
      return { plugin, command, id, name, netns, input: JSON.parse(input) };
    });
    assert.deepEqual(seen.map(({ plugin, command }) => `${plugin} ${command}`), [
      "one ADD",
      "two ADD",
      "two DEL",
      "one DEL",
    ]);
    const [first, second, third] = seen;
    assert.deepEqual(first?.input, { type: "one", own: 1, cniVersion: "1.0.0", name: "told" });
    assert.deepEqual(second?.input.prevResult.ips, [{ address: "192.0.2.9/24" }]);
    assert.deepEqual(third?.input.prevResult.ips, [{ address: "192.0.2.9/24" }]);
    assert.ok(seen.every(({ id, name }) => id === first?.id && name === "eth0"));
    assert.match(first?.netns ?? "", /^\/proc\/\d+\/fd\/\d+$/);
  });

  it("a plugin that fails is told in its own words, and what was done is undone", async () => {
    calls();
    writeFileSync(join(folder, "fail-ADD"), "");
    const { code, stderr } = await run("run", "--network", "cni:single", "box:1", "true");
    rmSync(join(folder, "fail-ADD"));
    assert.notEqual(code, 0);
    assert.match(stderr, /one failed in ADD: it is: told to fail/);
    assert.deepEqual(calls().map((line) => line.split(" ")[1]), ["ADD", "DEL"]);
    assert.deepEqual(records(), []);
  });

  it("refuse what is not configured, or not as the specification has it", async () => {
    for (
      const [network, told] of [
        ["cni:none", /no network "none" is configured in .*: it has single, missing, old, path, real, told/],
        ["cni", /want the name of a network behind it, cni:NAME/],
        ["cni:missing", /CNI plugin "nowhere" is not in .*: install it/],
        ["cni:old", /"cniVersion" is "0\.2\.0": wanted a version of the CNI specification/],
        ["cni:path", /"plugins\.0\.type" is "\.\.\/bin\/one": wanted the file name of a plugin/],
      ] as const
    ) {
      const { code, stderr } = await run("run", "--network", network, "box:1", "true");
      assert.notEqual(code, 0);
      assert.match(stderr, told);
    }
    assert.match((await run("run", "--network", "cni:told", "--egress", "box:1", "true")).stderr, /cannot use egress/);
  });

  it("a daemon that is killed has its ends given back by the next, as often as that takes", async () => {
    await out("run", "-d", "--network", "cni:real", "box:1", ...serve);
    const told = await out("run", "-d", "--network", "cni:told", "box:1", ...serve);
    assert.equal(leased().length, 1);
    assert.equal(records().length, 2);
    await daemon.end("SIGKILL");
    calls();
    writeFileSync(join(folder, "fail-DEL"), "");
    await start();
    assert.deepEqual(leased(), []);
    assert.deepEqual(records(), [`${told}.json`]);
    assert.match(daemon.log(), /told to fail/);
    // Each of them is told, whatever the other says; the namespace is gone.
    assert.deepEqual(calls().map((line) => line.split(" ").slice(0, 2).join(" ")), ["two DEL", "one DEL"]);
    rmSync(join(folder, "fail-DEL"));
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    await start();
    assert.deepEqual(records(), []);
    assert.match(calls()[0] ?? "", / netns= \{/);
  });
});
