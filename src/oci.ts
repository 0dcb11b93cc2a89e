/** The composition of `mayfly oci`: its command line over the native runtime, without a daemon. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { ociMain } from "./oci/main.ts";

/** @param args what follows `oci`. @returns the exit status. */
export async function oci(args: readonly string[]): Promise<number> {
  const root = ownFolder() ?? "/run/mayfly-oci";
  return await ociMain(args, {
    root,
    async becomeRoot(beside) {
      if (process.geteuid?.() === 0) return;
      const { currentHost } = await import("./host/mod.ts");
      await (await import("./rootless.ts")).needRoot(await currentHost(), { beside });
    },
    host: async () => await (await import("./host/mod.ts")).currentHost(),
    runtime: async ({ kernel, children, cgroups }) => {
      const { NativeDetached } = await import("../runtimes/native/detached.ts");
      // Where containers have their root mounted, each in its own mount namespace: nobody else sees anything there.
      const folder = join(root, ".rootfs");
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      return new NativeDetached({ kernel, children, cgroups, folder });
    },
    features: async (arch) => (await import("../runtimes/native/features.ts")).nativeFeatures(arch),
  });
}

/** An ordinary user's folder; podman's runtime is such a user who is root of a user namespace already. */
function ownFolder(): string | undefined {
  const own = process.env["XDG_RUNTIME_DIR"];
  if (own === undefined || !own.startsWith("/")) return undefined;
  const isUser = process.geteuid?.() !== 0 ||
    !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  return isUser ? join(own, "mayfly-oci") : undefined;
}
