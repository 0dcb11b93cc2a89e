import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { NetworkSettings } from "../core/network.ts";
import type { Spec, SpecMount } from "../core/spec.ts";
import { parseIpv4 } from "./ipv4.ts";

export interface ContainerFilesOptions {
  /** A folder of the container's own, which is made. */
  readonly folder: string;
  readonly addresses: readonly string[];
  readonly settings: Pick<NetworkSettings, "dns" | "extraHosts">;
}

/** The files by which a container knows names, as Docker's users expect them. */
export interface ContainerFiles {
  /** The spec with them mounted in it, read-only, but where it has a mount of its own there. */
  readonly spec: Spec;
  remove(): void;
}

/** Writes a container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. */
export function writeContainerFiles(
  spec: Spec,
  { folder, addresses, settings }: ContainerFilesOptions,
): ContainerFiles {
  const hostname = spec.hostname ?? "localhost";
  const texts = {
    hosts: hostsOf(hostname, addresses, settings.extraHosts),
    hostname: `${hostname}\n`,
    "resolv.conf": resolvConfOf(settings.dns),
  };
  const remove = () => rmSync(folder, { recursive: true, force: true });
  remove();
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const taken = new Set((spec.mounts ?? []).map(({ destination }) => destination));
  const binds: SpecMount[] = [];
  for (const [name, text] of Object.entries(texts)) {
    const [source, destination] = [join(folder, name), `/etc/${name}`];
    if (taken.has(destination)) continue;
    writeFileSync(source, text, { mode: 0o644 });
    binds.push({ destination, type: "bind", source, options: ["rbind", "ro", "nosuid", "nodev", "noexec"] });
  }
  return { spec: { ...spec, mounts: [...spec.mounts ?? [], ...binds] }, remove };
}

function hostsOf(hostname: string, addresses: readonly string[], extra: NetworkSettings["extraHosts"]): string {
  const names = hostname.includes(".") ? `${hostname} ${hostname.split(".", 1)[0]}` : hostname;
  const lines = [
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
    ...addresses.map((address) => `${address}\t${names}`),
    ...extra.map(({ name, address }) => `${address}\t${name}`),
  ];
  return `${lines.join("\n")}\n`;
}

/** Where systemd-resolved keeps the servers that it asks itself. */
const uplinks = "/run/systemd/resolve/resolv.conf";

/** @param dns in place of the machine's nameservers. */
function resolvConfOf(dns: readonly string[]): string {
  const own = read("/etc/resolv.conf");
  const servers = dns.length > 0 ? dns : reachable(own).length > 0 ? reachable(own) : reachable(read(uplinks));
  const others = own.filter((line) => /^\s*(?:search|domain|options)\s/.test(line));
  return [...servers.map((server) => `nameserver ${server}`), ...others].map((line) => `${line}\n`).join("");
}

/** Nameservers that a container reaches: by IPv4, and not by the machine's loopback, where it has its own. */
function reachable(lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? [])
    .filter((address) => parseIpv4(address) !== undefined && !address.startsWith("127."));
}

function read(path: string): readonly string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    // A machine may have none.
    return [];
  }
}
