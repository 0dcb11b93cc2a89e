import type { ContainerMount, ImageMount } from "../core/container_mount.ts";
import { parseDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import type { FunctionSettings } from "../core/function.ts";
import type { Traced } from "../core/monitor.ts";
import type { Snapshotter } from "../core/snapshotter.ts";
import type { SpecMount } from "../core/spec.ts";
import type { Images } from "../images/images.ts";
import type { VolumeFolders } from "../tasks/volume_folders.ts";
import type { Views } from "./views.ts";

/** Images and artifacts whose files a function's containers see: held as long as they may. */
export interface Volumes extends AsyncDisposable {
  readonly mounts: readonly SpecMount[];
}

export function isImageMount(mount: ContainerMount): mount is ImageMount {
  return mount.type === "image";
}

/** Opens the images and artifacts that are mounted. @throws as `Images.unpack` and `openArtifact`; unimplemented where they cannot be. */
export async function openVolumes(
  { images, views, folders, snapshotter, namespace, settings }: {
    readonly images: Images;
    readonly views: Views;
    readonly folders: VolumeFolders;
    readonly snapshotter: Snapshotter;
    readonly namespace: string;
    readonly settings: FunctionSettings;
  },
  traced: Traced,
): Promise<Volumes> {
  const wanted = settings.mounts.filter(isImageMount);
  await using opened = new AsyncDisposableStack();
  const mounts: SpecMount[] = [];
  for (const { source, target, subpath, digest } of wanted) {
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
    if (subpath !== undefined) path = folders.within(path, subpath, source);
    // Nobody gets rights or devices by what is mounted.
    const options = ["bind", "ro", "nosuid", "nodev", "private"];
    mounts.push({ destination: target, type: "bind", source: path, options });
  }
  const held = opened.move();
  return { mounts, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

function refused(source: string, { userns }: FunctionSettings): Failure {
  const why = userns === "auto" ? 'with users of its own, choose userns "host"' : "that goes on from a checkpoint";
  return new Failure("unimplemented", `cannot mount image ${JSON.stringify(source)} into a container ${why}`, {
    details: { field: "mounts" },
  });
}
