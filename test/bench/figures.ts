/** The value below which a part of all lies; 0.5 is the median. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}

/** The median between the quartiles, which say how far it is to be trusted. */
export function quartiles(values: readonly number[]): readonly [number, number, number] {
  return [quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)];
}

/** A time in a column of a table. */
export function milliseconds(value: number): string {
  return value.toFixed(2).padStart(7);
}
