/** What `/proc/<pid>/stat` says. */
export interface ProcStat {
  /** The program's name. */
  readonly name: string;
  /** @param number from 3, as the manual numbers them. @returns "" where there is none. */
  field(number: number): string;
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
export function parseProcStat(text: string): ProcStat {
  // The name may hold anything, closing brackets too: what follows the last one is numbers and a letter.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  return { name: text.slice(text.indexOf("(") + 1, end), field: (number) => fields[number - 3] ?? "" };
}
