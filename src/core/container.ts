/** Metadata of a container: what a task can be made of. It holds no runtime state. */
export interface Container {
  readonly namespace: string;
  readonly id: string;
  readonly image: string | undefined;
  readonly runtime: string;
  readonly snapshotter: string;
  readonly snapshotKey: string | undefined;
  /** The OCI runtime configuration. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
}

/** Where containers are recorded. */
export interface ContainerStore {
  get(namespace: string, id: string): Promise<Container | undefined>;
  /** @param namespace default all. */
  list(namespace?: string): Promise<readonly Container[]>;
  /** @throws already_exists. */
  create(container: Omit<Container, "createdAt">): Promise<Container>;
  /** @returns whether it was there. */
  delete(namespace: string, id: string): Promise<boolean>;
}
