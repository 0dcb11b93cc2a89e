import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const cache = join(homedir(), ".cache/mayfly-tests");
const release = "forky";

/**
 * A CRIU that works on this kernel: the machine's, or where that is too old the one of a newer Debian, which is fetched once
 * and installed nowhere.
 * @returns its path. @throws what could not be had.
 */
export function workingCriu(): string {
  const own = ["/usr/sbin/criu", "/usr/bin/criu"].find((path) => existsSync(path) && works(path));
  if (own !== undefined) return own;
  const folder = join(cache, `criu-${release}`);
  const program = join(folder, "criu");
  if (!existsSync(program)) fetchTo(folder);
  if (works(program)) return program;
  throw new Error(`Debian ${release}'s criu does not work on this kernel: ${run(program, "check").stderr}`);
}

function works(path: string): boolean {
  return run(path, "check").status === 0;
}

function run(program: string, ...args: string[]) {
  return spawnSync(program, args, { encoding: "utf8", timeout: 300_000 });
}

function demand(program: string, ...args: string[]): void {
  const { status, stderr, error } = run(program, ...args);
  if (status !== 0) throw new Error(`cannot fetch Debian ${release}'s criu: ${program} ${args[0]}: ${error ?? stderr}`);
}

/** Its packages are unpacked into a folder of their own, and it is run by their own loader. */
function fetchTo(folder: string): void {
  mkdirSync(cache, { recursive: true });
  const made = mkdtempSync(join(cache, "fetch-"));
  try {
    const [state, archives, root] = ["state", "cache", "root"].map((name) => join(made, name)) as [
      string,
      string,
      string,
    ];
    mkdirSync(join(state, "lists/partial"), { recursive: true });
    mkdirSync(join(archives, "archives/partial"), { recursive: true });
    writeFileSync(join(state, "status"), "");
    const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    writeFileSync(
      join(made, "sources.list"),
      `deb [signed-by=${keyring}] http://deb.debian.org/debian ${release} main\n`,
    );
    const settings = [
      `Dir::State=${state}`,
      `Dir::State::status=${state}/status`,
      `Dir::Cache=${archives}`,
      `Dir::Etc::sourcelist=${made}/sources.list`,
      "Dir::Etc::sourceparts=/dev/null",
      "Dir::Etc::preferencesparts=/dev/null",
      "APT::Sandbox::User=root",
      "Acquire::Retries=3",
    ].flatMap((setting) => ["-o", setting]);
    demand("apt-get", ...settings, "update");
    demand("apt-get", ...settings, "install", "-y", "--download-only", "--no-install-recommends", "criu");
    for (const file of globSync(`${archives}/archives/*.deb`)) demand("dpkg-deb", "-x", file, root);
    const [loader] = globSync(`${root}/usr/lib/*/ld-linux-*.so.*`);
    if (loader === undefined) throw new Error(`cannot fetch Debian ${release}'s criu: no loader is among its packages`);
    const inside = (path: string) => path.replace(made, folder);
    const libraries = inside(join(loader, ".."));
    const program = `exec ${inside(loader)} --library-path ${libraries} ${folder}/root/usr/sbin/criu "$@"`;
    writeFileSync(join(made, "criu"), `#!/bin/sh\n${program}\n`);
    chmodSync(join(made, "criu"), 0o755);
    for (const each of [state, archives]) rmSync(each, { recursive: true });
    renameSync(made, folder);
  } catch (error) {
    rmSync(made, { recursive: true, force: true });
    throw error;
  }
}
