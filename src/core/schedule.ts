/** Until when the schedules of functions have been kept, across restarts of the daemon. */
export interface ScheduleStore {
  /** When each schedule of a function was last looked after, by the schedule's key. */
  marks(namespace: string, name: string): Promise<ReadonlyMap<string, Date>>;
  /** All runs of a schedule up to a time are accepted, or were let go. */
  mark(namespace: string, name: string, key: string, at: Date): Promise<void>;
  /** Forgets the marks of a function but for those of the keys. */
  keep(namespace: string, name: string, keys: readonly string[]): Promise<void>;
}
