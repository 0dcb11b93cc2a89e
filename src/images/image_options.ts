import type { Digest } from "../core/digest.ts";
import type { Descriptor, Platform } from "../core/descriptor.ts";
import type { DistributionOptions } from "../core/distribution.ts";
import type { Traced } from "../core/monitor.ts";
import type { CommitSettings } from "./commit.ts";
import type { OnProgress } from "./progress.ts";

export interface PullOptions extends DistributionOptions, Traced {
  /** Default: this machine's. */
  readonly platform?: Platform | undefined;
  /** Whether what the image has for other platforms comes too. Default false. */
  readonly allPlatforms?: boolean | undefined;
  /** Whether it may be an artifact, which cannot run. Default false. */
  readonly artifacts?: boolean | undefined;
  /** The snapshotter into which the image is also unpacked, while it is on its way. */
  readonly snapshotter?: string | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface PushImageOptions extends DistributionOptions, Traced {
  /** Where it goes. Default: where its name says. */
  readonly to?: string | undefined;
  /** Which one of an index. Default: all that is here. */
  readonly platform?: Platform | undefined;
  readonly onProgress?: OnProgress | undefined;
}

export interface UnpackImageOptions extends Traced {
  /** Whose image it is and what it is called, for its events. Default: nobody is told. */
  readonly image?: { readonly namespace: string; readonly name: string } | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which container's changes become an image. */
export interface CommitImageOptions extends CommitSettings, Traced {
  /** What the image is called. */
  readonly name: string;
  /** The image that the container was made of: its index or manifest. */
  readonly base: Digest | Descriptor;
  readonly snapshotter: string;
  /** The container's snapshot, an active one. Nobody should write into it meanwhile: pause the container. */
  readonly key: string;
  readonly signal?: AbortSignal | undefined;
}

/** What an image is made of. */
export interface BuildImageOptions extends Traced {
  /** What the image is called. */
  readonly name: string;
  /** The image that it goes on from; pulled where it is not here. */
  readonly base: string;
  /** A tar archive of what it has beside that. */
  readonly archive: AsyncIterable<Uint8Array>;
  /** Into which one it is unpacked. */
  readonly snapshotter: string;
  /** Dockerfile instructions that change the configuration. */
  readonly changes?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which container is written as it runs. */
export interface CheckpointImageOptions extends Omit<CommitImageOptions, "signal" | "parent"> {
  /** Writes its processes to a folder, and calls back while they are stopped. */
  readonly dump: (folder: string, whileStopped: () => Promise<void>) => Promise<void>;
}
