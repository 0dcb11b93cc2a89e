import * as v from "valibot";
import { DigestSchema } from "./digest.ts";

const path = v.pipe(
  v.string(),
  v.maxLength(4096),
  v.check((text) => !text.includes("\0"), "text without NUL bytes"),
  v.regex(/^\//, "an absolute path"),
  v.check((text) => !text.split("/").includes(".."), 'a path without ".."'),
);

/** Where the container's own filesystems are, which hide nothing of it only as long as they are what they are. */
const reserved = /^\/+(?:\.\/*)*(?:(?:proc|sys)(?:\/.*)?|dev\/*)?$/;
const target = v.pipe(
  path,
  v.check((text) => !reserved.test(text), "a path that is not /, /dev, or at or below /proc and /sys"),
);

/** The smallest filesystem in memory: a page. */
export const leastTmpfsBytes = 4096;

/** What a caller has mounted into a container beside what every one has, in Docker's words. */
export const ContainerMountSchema = v.variant("type", [
  v.strictObject({
    type: v.literal("bind"),
    /** A file or folder of the daemon's machine, which has to be there. */
    source: path,
    target,
    /** Whether it and all that is mounted below it can only be read. Default false. */
    readonly: v.optional(v.boolean(), false),
    /** Whether mounts that are made below it later come through. Default rprivate. */
    propagation: v.optional(v.picklist(["private", "rprivate", "slave", "rslave", "shared", "rshared"]), "rprivate"),
  }),
  v.strictObject({
    type: v.literal("tmpfs"),
    target,
    /** Its pages also count as the container's memory. Default: what the kernel allows, half of the machine's memory. */
    sizeBytes: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(leastTmpfsBytes), v.maxValue(2 ** 50))),
    /** Its root's permissions. Default 0o1777. */
    mode: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(0o7777)), 0o1777),
  }),
  v.strictObject({
    type: v.literal("image"),
    /**
     * An image or artifact that is there, or a reference that is pulled first: what is in it can be read, by all containers from
     * one place. An artifact is a folder of files by their titles.
     */
    source: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
    target,
    /** A file or folder in it, in place of all of it. Symbolic links lead nowhere but in the image. */
    subpath: v.optional(v.pipe(
      v.string(),
      v.minLength(1),
      v.maxLength(4096),
      v.check((text) => !text.includes("\0"), "text without NUL bytes"),
      v.check(
        (text) => !text.startsWith("/") && !text.split("/").includes(".."),
        'a path without "/" before it or ".."',
      ),
    )),
    /** What the source named when the function was deployed; said by the daemon alone, of a caller's nothing is taken. */
    digest: v.optional(DigestSchema),
  }),
]);
export type ContainerMount = v.InferOutput<typeof ContainerMountSchema>;

/** An image whose files are in a container. */
type ImageMount = Extract<ContainerMount, { readonly type: "image" }>;

export function isImageMount(mount: ContainerMount): mount is ImageMount {
  return mount.type === "image";
}

export const ContainerMountsSchema = v.pipe(
  v.array(ContainerMountSchema),
  v.maxLength(256, "256 mounts at most"),
  v.check(
    (mounts) =>
      new Set(mounts.map(({ target }) => target.replace(/\/+/g, "/").replace(/(?!^)\/$/, ""))).size === mounts.length,
    "mounts of different targets",
  ),
);
