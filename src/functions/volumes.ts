import { isImageMount } from "../core/container_mount.ts";
import { parseDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { Traced } from "../core/monitor.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { Images } from "../images/images.ts";
import type { IngredientSettings, Volumes } from "../tasks/ingredients.ts";
import type { VolumeFolders } from "../tasks/volume_folders.ts";
import type { Views } from "./views.ts";

type Mounting = Pick<IngredientSettings, "mounts" | "userns" | "restore">;

/**
 * Opens the images and artifacts that are mounted.
 * @throws as `Images.unpack` and `openArtifact`; as `VolumeFolders.within`; unimplemented where they cannot be mounted.
 */
export async function openVolumes(
  { images, views, folders, snapshotter, namespace, settings }: {
    readonly images: Images;
    readonly views: Views;
    readonly folders: VolumeFolders;
    readonly snapshotter: Snapshotter;
    readonly namespace: string;
    readonly settings: Mounting;
  },
  traced: Traced,
): Promise<Volumes> {
  await using opened = new AsyncDisposableStack();
  const paths = new Map<string, string>();
  for (const { source, target, subpath, digest } of settings.mounts.filter(isImageMount)) {
    if (settings.userns === "auto" || settings.restore) throw refused(source, settings);
    const manifest = parseDigest(digest ?? "");
    let path = opened.use(await images.openArtifact(manifest))?.folder;
    if (path === undefined) {
      const image = { namespace, name: source };
      const chain = await images.unpack(manifest, snapshotter.id, { ...traced, image });
      const view = await views.acquire(snapshotter, chain);
      opened.defer(() => views.release(snapshotter, chain));
      path = opened.use(folders.show(`${snapshotter.id}/${chain}`, view)).path;
    }
    paths.set(target, subpath === undefined ? path : folders.within(path, subpath, source));
  }
  const held = opened.move();
  return { paths, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

function refused(source: string, { userns }: Mounting): Failure {
  const why = userns === "auto" ? 'with users of its own, choose userns "host"' : "that goes on from a checkpoint";
  return new Failure("unimplemented", `cannot mount image ${JSON.stringify(source)} into a container ${why}`, {
    details: { field: "mounts" },
  });
}
