import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";

/** Debian packages that the tests use, each with the program that tells whether it is there, where it has one. */
const packages: Readonly<Record<string, string | undefined>> = {
  "docker-registry": "docker-registry",
  skopeo: "skopeo",
  umoci: "umoci",
  buildah: "buildah",
  "busybox-static": "busybox",
  "btrfs-progs": "mkfs.btrfs",
  e2fsprogs: "mkfs.ext4",
  crun: "crun",
  runc: "runc",
  "containernetworking-plugins": undefined,
  iproute2: "ip",
  podman: "podman",
  conmon: "conmon",
  binutils: "as",
  "binutils-aarch64-linux-gnu": "aarch64-linux-gnu-as",
  "linux-libc-dev-arm64-cross": undefined,
  "qemu-user": "qemu-aarch64",
  "python3-seccomp": undefined,
  libseccomp2: undefined,
  libisal2: undefined,
  libzstd1: undefined,
  zstd: "zstd",
  "xz-utils": "xz",
  uidmap: "newuidmap",
  "qemu-system-x86": "qemu-system-x86_64",
  curl: "curl",
  openssl: "openssl",
  tmux: "tmux",
  procps: "pgrep",
  // Whichever "aws" there is beside it: the tests want this one.
  awscli: undefined,
  "golang-github-opencontainers-specs-dev": undefined,
};

const folders = [...(process.env.PATH ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The Debian packages that this machine lacks. */
export function missingPackages(): string[] {
  return Object.entries(packages).filter(([name, program]) => !isThere(name, program)).map(([name]) => name);
}

/** Says in one sentence each what this machine lacks for the tests. */
export function lacking(): string[] {
  const missing = missingPackages();
  const answers: string[] = [];
  if (process.getuid?.() !== 0) answers.push("The tests mount, make namespaces and change cgroups: run them as root.");
  if (missing.length > 0) {
    answers.push(`Debian packages are missing: apt-get install -y --no-install-recommends ${missing.join(" ")}`);
  }
  return answers;
}

function isThere(name: string, program: string | undefined): boolean {
  if (program !== undefined && folders.some((folder) => folder !== "" && existsSync(`${folder}/${program}`))) {
    return true;
  }
  const { status, stdout } = spawnSync("dpkg-query", ["-W", "-f", "${db:Status-Status}", name], { encoding: "utf8" });
  return status === 0 && stdout === "installed";
}

if (import.meta.main) console.log(missingPackages().join(" "));
