import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";

/** A kernel of Debian's, unpacked into a folder; nothing of it is installed. */
export interface VmKernel {
  /** The package, for example `linux-image-6.1.0-50-cloud-amd64`. */
  readonly name: string;
  readonly image: string;
  /** The folder below which its modules are. */
  readonly modules: string;
}

/** Debian's current kernel for virtual machines. */
const defaultPackage = "linux-image-cloud-amd64";

/**
 * Fetches a kernel package with apt, unless it was fetched before.
 * @param folder keeps kernels from one run to the next.
 */
export function fetchKernel(folder: string): VmKernel {
  const wanted = process.env["MAYFLY_VM_KERNEL"] ?? defaultPackage;
  const name = resolvePackage(wanted);
  const home = join(folder, name);
  if (!existsSync(home)) {
    const making = `${home}.new`;
    rmSync(making, { recursive: true, force: true });
    mkdirSync(making, { recursive: true });
    download(name, making);
    const [archive] = globSync("*.deb", { cwd: making });
    if (archive === undefined) throw new Error(`apt-get downloaded no package ${name}`);
    execFileSync("dpkg-deb", ["-x", join(making, archive), making]);
    rmSync(join(making, archive));
    renameSync(making, home);
  }
  const [image] = globSync(join(home, "boot/vmlinuz-*"));
  const [modules] = globSync(join(home, "{usr/,}lib/modules/*"));
  if (image === undefined || modules === undefined) {
    throw new Error(`there is no kernel in ${home}: remove that folder`);
  }
  return { name, image, modules };
}

/** Downloads a package, with new lists where the old ones name what is no longer there. */
function download(name: string, folder: string): void {
  // As root, so that the folder need not be open to apt's own user.
  const apt = (...args: string[]) =>
    spawnSync("apt-get", ["-q", "-o", "APT::Sandbox::User=root", ...args], { cwd: folder, encoding: "utf8" });
  if (apt("download", name).status === 0) return;
  apt("update");
  const { status, stderr } = apt("download", name);
  if (status !== 0) throw new Error(`cannot download the package ${name}: ${stderr}`);
}

/** The package that a package without files of its own stands for today. */
function resolvePackage(name: string): string {
  const { stdout } = spawnSync("apt-cache", ["depends", "--important", name], { encoding: "utf8" });
  return /Depends: (linux-image-\S+)/.exec(stdout)?.[1] ?? name;
}

/** A module, ready to be loaded. */
export interface VmModule {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Reads modules and what they need, in the order in which they are to be loaded. One that is built in is left out. */
export function readModules({ modules }: VmKernel, names: readonly string[]): readonly VmModule[] {
  const files = new Map(
    globSync("**/*.ko{,.xz,.zst}", { cwd: modules }).map((
      file,
    ) => [basename(file).replace(/\.ko.*$/, "").replaceAll("-", "_"), join(modules, file)]),
  );
  const read = new Map<string, VmModule>();
  const add = (name: string) => {
    const file = files.get(name);
    if (file === undefined || read.has(name)) return;
    const bytes = decompress(file);
    const needs = /(?:^|\0)depends=([^\0]*)\0/.exec(new TextDecoder("latin1").decode(bytes))?.[1] ?? "";
    for (const need of needs.split(",")) add(need.replaceAll("-", "_"));
    read.set(name, { name, bytes });
  };
  for (const name of names) add(name);
  return [...read.values()];
}

function decompress(file: string): Uint8Array {
  const program = file.endsWith(".xz") ? "xz" : file.endsWith(".zst") ? "zstd" : undefined;
  if (program === undefined) return readFileSync(file);
  return execFileSync(program, ["-dc", file], { maxBuffer: 1 << 26 });
}
