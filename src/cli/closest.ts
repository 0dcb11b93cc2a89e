/**
 * The name that a word was probably meant to be: the one that takes the fewest letters added, left out or changed, two at the
 * most, or two neighbours swapped.
 * @returns undefined where no name is near.
 */
export function closest(word: string, names: readonly string[]): string | undefined {
  const near = names.map((name) => ({ name, far: distance(word, name) })).sort((a, b) => a.far - b.far)[0];
  return near !== undefined && near.far <= Math.min(2, near.name.length / 2) ? near.name : undefined;
}

/** How many letters differ (the optimal string alignment distance). */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const changed = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Infinity;
      row.push(Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + changed, swapped));
    }
  }
  return at(a.length, b.length);
}
