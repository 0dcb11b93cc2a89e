import type { Descriptor } from "./descriptor.ts";

/** A name that points at a descriptor (an index or a manifest). */
export interface Image {
  readonly namespace: string;
  /** A full reference, as `formatReference` writes it: `docker.io/library/busybox:1.36`. */
  readonly name: string;
  readonly target: Descriptor;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface ImageListOptions {
  /** What their names begin with. */
  readonly prefix?: string;
  /** Only those without a digest. */
  readonly tagged?: boolean;
  /** A name that those wanted stand behind. */
  readonly after?: string;
  /** The most of them. */
  readonly limit?: number;
}

/** Where names of images are recorded. */
export interface ImageStore {
  get(namespace: string, name: string): Promise<Image | undefined>;
  /** In the order of their names' bytes. */
  list(namespace: string, options?: ImageListOptions): Promise<readonly Image[]>;
  /** How many there are. */
  count(namespace: string, options?: Omit<ImageListOptions, "after" | "limit">): Promise<number>;
  /** Every namespace's images, for garbage collection. */
  all(): Promise<readonly Image[]>;
  /** Creates the name or points it at a new target. Labels that are not given stay as they are. */
  put(image: Pick<Image, "namespace" | "name" | "target"> & Partial<Pick<Image, "labels">>): Promise<Image>;
  /** @returns whether it was there. */
  delete(namespace: string, name: string): Promise<boolean>;
}
