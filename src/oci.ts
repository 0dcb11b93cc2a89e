/** The composition of `mayfly oci`: its command line over the native runtime, without a daemon. */
import { mkdirSync } from "node:fs";
import { ociMain } from "./oci/main.ts";

/** Where containers have their root mounted, each in its own mount namespace: nobody else sees anything there. */
const folder = "/run/mayfly-oci/.rootfs";

/** @param args what follows `oci`. @returns the exit status. */
export async function oci(args: readonly string[]): Promise<number> {
  return await ociMain(args, {
    host: async () => await (await import("./host/mod.ts")).currentHost(),
    runtime: async ({ kernel, children, cgroups }) => {
      const { NativeDetached } = await import("../runtimes/native/detached.ts");
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      return new NativeDetached({ kernel, children, cgroups, folder });
    },
    capabilities: async () => (await import("../runtimes/native/capabilities.ts")).capabilityNames,
  });
}
