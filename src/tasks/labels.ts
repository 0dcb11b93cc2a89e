/** Whether labels fit all filters, each `name` or `name=value`. */
export function hasLabels(labels: Readonly<Record<string, string>>, filters: readonly string[]): boolean {
  return filters.every((filter) => {
    const equals = filter.indexOf("=");
    return equals < 0 ? Object.hasOwn(labels, filter) : labels[filter.slice(0, equals)] === filter.slice(equals + 1);
  });
}
