/** Ids of the host that belong to one namespace: user and group 0 of its containers are `first`, and so on. */
export interface IdRange {
  readonly first: number;
  /** How many; ids from here on are none in a container. */
  readonly size: number;
}

/** How many ids a namespace gets: all that 16 bits have, as images expect. */
export const idRangeSize = 65_536;

/** Which ids of the host are whose. They are this machine's, wherever definitions stand. */
export interface IdRangeStore {
  /**
   * The range of a namespace, which is its own from the first time on until it is deleted.
   * @throws resource_exhausted when none is left.
   */
  take(namespace: string): Promise<IdRange>;
}
