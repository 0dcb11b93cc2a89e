import { type Descriptor, type Manifest, mediaTypes } from "../core/descriptor.ts";
import type { Digest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";

/** Where a file's name is, and what oras says of a folder that it has packed. */
const titleAnnotation = "org.opencontainers.image.title";
const packedAnnotation = "io.deis.oras.content.unpack";

/** A title's longest, its parts' longest, and how many parts it may have. */
const titleBytes = 1024;
const partBytes = 255;
const mostParts = 16;

/** One file of an artifact: a blob, as it is. */
export interface ArtifactFile {
  /** Its path below the artifact's folder, which it cannot leave: `model.bin`, `weights/1.bin`. */
  readonly title: string;
  readonly blob: Descriptor;
}

/**
 * Whether a manifest is of files, and not of a root filesystem. The media types of layers do not tell: oras calls a file
 * a tar archive where nobody says what it is.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md#guidelines-for-artifact-usage
 */
export function isArtifact({ config, artifactType, layers }: Manifest): boolean {
  if (config.mediaType === mediaTypes.config || config.mediaType === mediaTypes.dockerConfig) return false;
  return artifactType !== undefined || layers.some(({ annotations }) => annotations?.[titleAnnotation] !== undefined);
}

/**
 * The files of an artifact, by their titles.
 * @throws invalid_argument for one without a title, or whose title is no path below a folder, or is another's, too;
 * unimplemented for a folder that was packed into an archive.
 */
export function artifactFiles({ layers }: Manifest, digest: Digest): readonly ArtifactFile[] {
  const action = `cannot use artifact ${digest}`;
  const files = layers.map((blob): ArtifactFile => {
    const title = blob.annotations?.[titleAnnotation];
    if (title === undefined) {
      throw new Failure(
        "invalid_argument",
        `${action}: its layer ${blob.digest} has no title, want the file's name in the annotation ${titleAnnotation}`,
      );
    }
    if (blob.annotations?.[packedAnnotation] === "true") {
      throw new Failure(
        "unimplemented",
        `${action}: ${JSON.stringify(title)} is a folder that was packed into an archive: push its files, or an image`,
      );
    }
    const wrong = wrongTitle(title);
    if (wrong === undefined) return { title, blob };
    throw new Failure(
      "invalid_argument",
      `${action}: the title ${JSON.stringify(title.slice(0, titleBytes))} ${wrong}, want a path below a folder`,
    );
  });
  const titles = new Set<string>();
  for (const { title } of files) {
    if (titles.has(title)) throw twice(action, title);
    titles.add(title);
  }
  for (const title of titles) {
    for (let end = title.indexOf("/"); end >= 0; end = title.indexOf("/", end + 1)) {
      if (titles.has(title.slice(0, end))) throw twice(action, title.slice(0, end));
    }
  }
  return files;
}

function wrongTitle(title: string): string | undefined {
  if (title.startsWith("/")) return "begins with a slash";
  // What is no Unicode has no bytes of its own.
  if (title.includes("\0") || !title.isWellFormed()) return "holds what no file's name can";
  if (Buffer.byteLength(title) > titleBytes) return `has more than ${titleBytes} bytes`;
  const parts = title.split("/");
  if (parts.some((part) => ["", ".", ".."].includes(part))) return 'has a part that is empty, "." or ".."';
  if (parts.length > mostParts) return `has more than ${mostParts} parts`;
  return parts.some((part) => Buffer.byteLength(part) > partBytes)
    ? `has a part of over ${partBytes} bytes`
    : undefined;
}

function twice(action: string, title: string): Failure {
  return new Failure("invalid_argument", `${action}: two of its files want to be ${JSON.stringify(title)}`);
}
