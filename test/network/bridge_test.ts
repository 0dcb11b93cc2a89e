import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, afterEach, before, describe, it } from "node:test";
import * as v from "valibot";
import type { ImageConfig } from "../../src/core/descriptor.ts";
import { silent } from "../../src/core/logger.ts";
import type { Attachment, Network, NetworkSettings } from "../../src/core/network.ts";
import type { Spec } from "../../src/core/spec.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { Nftables } from "../../src/linux/netlink/nftables.ts";
import { Routing } from "../../src/linux/netlink/route.ts";
import { bridge } from "../../src/network/bridge.ts";
import { Leases } from "../../src/network/bridge/leases.ts";
import { parseSubnet } from "../../src/network/ipv4.ts";
import { generateSpec } from "../../src/tasks/spec.ts";
import { bridgeName, ownSubnet, withoutBridges } from "../support/own_bridge.ts";
import { until } from "../support/until.ts";

const host = await currentHost();
const kernel = new Kernel(host);
const { prefix, subnet } = ownSubnet();
/** How long what is to be dropped is waited for. */
const silenceSeconds = 1;

type BridgeNetwork = Required<Network> & AsyncDisposable;

describe("network bridge", { skip: withoutBridges() }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-bridge-"));
  const image: ImageConfig = {
    os: "linux",
    architecture: "amd64",
    config: { Cmd: ["c"] },
    rootfs: { type: "layers", diff_ids: [] },
  };
  const make = (settings: Readonly<Record<string, unknown>> = {}, root = join(folder, "root")) =>
    bridge.create({
      host,
      root,
      run: join(folder, "run"),
      config: v.parse(bridge.config ?? v.never(), { name: bridgeName, subnet, ...settings }),
      log: silent,
      get: () => assert.fail("it needs no other plugin"),
    }) as BridgeNetwork;
  const network = make();
  const children: ChildProcess[] = [];
  const held: AsyncDisposable[] = [];
  let count = 0;

  const settingsOf = (settings: Partial<NetworkSettings> = {}): NetworkSettings => ({
    network: "bridge",
    egress: false,
    dns: [],
    extraHosts: [],
    ...settings,
  });
  const connect = async (given: Partial<NetworkSettings> = {}, change: (spec: Spec) => Spec = (spec) => spec) => {
    const settings = settingsOf(given);
    const id = `box-${count++}`;
    const spec = network.apply(change(generateSpec({ id, image })), settings);
    const attachment = await network.connect({ id, namespace: "default", spec, settings });
    held.push(attachment);
    return attachment;
  };
  const within = ({ networkNamespace }: Pick<Attachment, "networkNamespace">) => [
    `--net=/proc/${process.pid}/fd/${networkNamespace}`,
    "busybox",
  ];
  const inside = (attachment: Attachment, ...command: readonly string[]) =>
    spawnSync("nsenter", [...within(attachment), ...command], { encoding: "utf8" });
  const wget = (attachment: Attachment, url: string) =>
    inside(attachment, "timeout", String(silenceSeconds), "wget", "-q", "-O", "-", url).stdout;
  const serve = (words: readonly string[], address: string) => {
    children.push(
      spawn("nsenter", [...words, "httpd", "-f", "-p", `${address}:80`, "-h", folder], { stdio: "ignore" }),
    );
  };
  const get = (address: string) =>
    fetch(`http://${address}/index.html`, { signal: AbortSignal.timeout(silenceSeconds * 1000) })
      .then((answer) => answer.text(), () => undefined);
  const addressOf = ({ addresses: [address = ""] }: Attachment) => address;
  const left = () => {
    using routing = Routing.open(kernel);
    using nftables = Nftables.open(kernel);
    return [
      ...routing.links().filter(({ name, alias }) => name === bridgeName || alias.startsWith(`${bridgeName} `)),
      ...nftables.tables().filter((name) => name === bridgeName),
    ];
  };

  let machine: Server;
  before(async () => {
    writeFileSync(join(folder, "index.html"), "hello");
    machine = createServer((_, answer) => answer.end("the machine"));
    await new Promise<void>((listening) => machine.listen(0, "0.0.0.0", listening));
  });
  const release = async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    for (const attachment of held.splice(0)) await attachment[Symbol.asyncDispose]();
  };
  afterEach(release);
  after(async () => {
    machine.close();
    await network[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  it("connect() gives an address by which the machine reaches the container", async () => {
    const one = await connect();
    assert.match(addressOf(one), new RegExp(`^${prefix.replaceAll(".", "\\.")}\\.\\d+$`));
    serve(within(one), addressOf(one));
    await until(async () => await get(addressOf(one)) === "hello");
  });

  it("a container reaches neither another nor the machine, with egress or without", async () => {
    const { port } = machine.address() as AddressInfo;
    for (const egress of [false, true]) {
      const [one, other] = [await connect({ egress }), await connect({ egress })];
      serve(within(one), addressOf(one));
      await until(async () => await get(addressOf(one)) === "hello");
      assert.equal(wget(one, `http://${addressOf(one)}/`), "hello");
      assert.equal(wget(other, `http://${addressOf(one)}/`), "");
      assert.equal(wget(other, `http://${prefix}.1:${port}/`), "");
      // Through the machine, as a router: where frames do not go, packets are not to go either.
      inside(other, "ip", "route", "add", `${addressOf(one)}/32`, "via", `${prefix}.1`);
      assert.equal(wget(other, `http://${addressOf(one)}/`), "");
    }
  });

  it("a container sends nothing by an address that is not its own", async () => {
    const one = await connect({ egress: true });
    const stolen = `${prefix}.250`;
    inside(one, "ip", "addr", "add", `${stolen}/24`, "dev", "eth0");
    serve(within(one), "0.0.0.0");
    await until(async () => await get(addressOf(one)) === "hello");
    assert.equal(await get(stolen), undefined);
  });

  it("a container takes nothing that is for another, by its hardware address", async () => {
    const [one, other] = [await connect(), await connect()];
    for (const each of [one, other]) serve(within(each), addressOf(each));
    for (const each of [one, other]) await until(async () => await get(addressOf(each)) === "hello");
    const hardware = inside(one, "ip", "link", "show", "eth0").stdout.match(/link\/ether (\S+)/)?.[1] ?? assert.fail();
    inside(other, "ip", "link", "set", "eth0", "down");
    inside(other, "ip", "link", "set", "eth0", "address", hardware);
    inside(other, "ip", "link", "set", "eth0", "up");
    wget(other, `http://${prefix}.1/`);
    assert.equal(await get(addressOf(other)), undefined);
    assert.equal(await get(addressOf(one)), "hello");
  });

  it("with egress it reaches what is beyond the machine, which does not reach it", async () => {
    const beyond = spawn("unshare", ["--net", "sleep", "600"], { stdio: "ignore" });
    children.push(beyond);
    const { pid = 0 } = beyond;
    await until(() => readNetwork(pid) !== readNetwork(process.pid));
    const [far, near] = [ownSubnet(1).prefix, `mfe${process.pid}`];
    const ip = (...words: readonly string[]) => assert.equal(spawnSync("ip", words).status, 0, words.join(" "));
    ip("link", "add", near, "type", "veth", "peer", "name", "far0", "netns", String(pid));
    try {
      ip("addr", "add", `${far}.1/24`, "dev", near);
      ip("link", "set", near, "up");
      const there = [`--net=/proc/${pid}/ns/net`, "busybox"];
      spawnSync("nsenter", [...there, "ip", "addr", "add", `${far}.2/24`, "dev", "far0"]);
      spawnSync("nsenter", [...there, "ip", "link", "set", "far0", "up"]);
      spawnSync("nsenter", [...there, "ip", "route", "add", "default", "via", `${far}.1`]);
      serve(there, `${far}.2`);
      await until(async () => await get(`${far}.2`) === "hello");
      const [out, kept] = [await connect({ egress: true }), await connect()];
      assert.equal(wget(out, `http://${far}.2/`), "hello");
      assert.equal(wget(kept, `http://${far}.2/`), "");
      // Where clouds give credentials to whoever asks from a machine.
      const secret = `169.254.${process.pid % 250}.${Math.floor(process.pid / 250) % 250 + 1}`;
      spawnSync("nsenter", [...there, "ip", "addr", "add", `${secret}/32`, "dev", "far0"]);
      ip("route", "add", `${secret}/32`, "dev", near);
      serve(there, secret);
      await until(async () => await get(secret) === "hello");
      assert.equal(wget(out, `http://${secret}/`), "");
      // Nor where root in it makes itself a route.
      inside(kept, "ip", "route", "add", "default", "via", `${prefix}.1`);
      assert.equal(wget(kept, `http://${far}.2/`), "");
      serve(within(out), addressOf(out));
      await until(async () => await get(addressOf(out)) === "hello");
      const back = ["timeout", String(silenceSeconds), "wget", "-q", "-O", "-", `http://${addressOf(out)}/`];
      assert.equal(spawnSync("nsenter", [...there, ...back], { encoding: "utf8" }).stdout, "");
    } finally {
      spawnSync("ip", ["link", "delete", near]);
    }
  });

  it("connect() writes the files that Docker's users expect, but for those that are mounted already", async () => {
    const own = { destination: "/etc/hostname", type: "bind", source: "/own", options: ["ro"] };
    const given = { dns: ["192.0.2.53"], extraHosts: [{ name: "db", address: "192.0.2.7" }] };
    const { spec, addresses } = await connect(given, (spec) => ({
      ...spec,
      hostname: "box.test",
      mounts: [...spec.mounts ?? [], own],
    }));
    const source = (path: string) => spec.mounts?.filter(({ destination }) => destination === path) ?? [];
    assert.deepEqual(source("/etc/hostname"), [own]);
    const hosts = readFileSync(source("/etc/hosts")[0]?.source ?? "", "utf8");
    assert.match(hosts, /^127\.0\.0\.1\tlocalhost$/m);
    assert.ok(hosts.endsWith(`${addresses[0]}\tbox.test box\n192.0.2.7\tdb\n`), hosts);
    assert.match(readFileSync(source("/etc/resolv.conf")[0]?.source ?? "", "utf8"), /^nameserver 192\.0\.2\.53\n/);
  });

  it("nothing is left of a container, nor of the bridge when nobody is on it", async () => {
    await connect();
    assert.ok(left().length >= 4);
    await release();
    await network[Symbol.asyncDispose]();
    await until(() => left().length === 0);
  });

  it("recover() removes what a process left that was killed, and nothing of others", async () => {
    const killed = make();
    const settings = settingsOf({ egress: true });
    const spec = killed.apply(generateSpec({ id: "left", image }), settings);
    const attachment = await killed.connect({ id: "left", namespace: "default", spec, settings });
    // The kernel closes what a process had.
    kernel.call("close", attachment.networkNamespace);
    const other = make({}, join(folder, "other"));
    assert.deepEqual(await other.recover(), []);
    await assert.rejects(other.connect({ id: "other", namespace: "default", spec, settings }), {
      code: "failed_precondition",
      message: new RegExp(`^cannot make network "bridge": interface "${bridgeName}" is "mayfly ${folder}/root"`),
    });
    assert.ok(left().length > 0);
    assert.ok((await make().recover()).includes(bridgeName));
    await until(() => left().length === 0);
  });

  it("connect() refuses a subnet that the machine has elsewhere", async () => {
    const route = readFileSync("/proc/net/route", "utf8").split("\n").slice(1).map((line) => line.split("\t"))
      .find(([name, to]) =>
        name !== undefined && name !== bridgeName && to !== undefined && /^[0-9A-F]*[1-9A-F]/.test(to)
      );
    if (route === undefined) return;
    const first = (route[1]?.match(/../g) ?? []).reverse().map((byte) => parseInt(byte, 16)).join(".");
    const taken = make({ subnet: `${first}/24` });
    const settings = settingsOf();
    const spec = taken.apply(generateSpec({ id: "taken", image }), settings);
    await assert.rejects(
      taken.connect({ id: "taken", namespace: "default", spec, settings }),
      /is not free: the machine/,
    );
  });

  it("apply() refuses what it does not know, and the configuration what is no subnet", () => {
    const spec = generateSpec({ id: "x", image });
    assert.throws(() => network.apply(spec, settingsOf({ network: "bridge:red" })), { code: "invalid_argument" });
    for (const subnet of ["10.0.0.0/30", "10.0.0.0/7", "10.0.0.1/24", "10.0.0/24", "fd00::/64", "10.0.0.0"]) {
      assert.throws(() => make({ subnet }), /a subnet of IPv4/, subnet);
    }
    for (const name of ["", "a".repeat(16), "a/b", "-a"]) assert.throws(() => make({ name }), /1 to 15 letters/);
  });

  it("leases give an address again as late as can be, and say when none is left", () => {
    const leases = new Leases(parseSubnet("10.9.8.0/29") ?? assert.fail());
    const all = Array.from({ length: 5 }, () => leases.take() % 256);
    assert.deepEqual(all, [2, 3, 4, 5, 6]);
    assert.throws(() => leases.take(), { code: "resource_exhausted" });
    const first = 10 * 2 ** 24 + 9 * 2 ** 16 + 8 * 2 ** 8;
    leases.giveBack(first + 6);
    leases.giveBack(first + 3);
    assert.equal(leases.take(), first + 3);
    assert.equal(leases.take(), first + 6);
  });
});

function readNetwork(pid: number): string {
  const { stdout } = spawnSync("readlink", [`/proc/${pid}/ns/net`], { encoding: "utf8" });
  return stdout;
}
