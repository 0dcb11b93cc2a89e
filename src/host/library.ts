/** @returns undefined where the library cannot be loaded, or lacks what is asked of it. */
export function loadLibrary<T>(load: () => T): T | undefined {
  try {
    return load();
  } catch {
    // Each runtime has its own words for it; there is one thing to do about it: to go on without.
    return undefined;
  }
}

/** The same keys with other values. */
export function mapValues<Name extends string, From, To>(
  from: Readonly<Record<Name, From>>,
  to: (value: From, name: Name) => To,
): Record<Name, To> {
  const entries = Object.entries(from) as [Name, From][];
  return Object.fromEntries(entries.map(([name, value]) => [name, to(value, name)])) as Record<Name, To>;
}
