import { Failure } from "../core/errors.ts";

/** The word behind a command that says what of it is meant. @throws invalid_argument. */
export function subcommand<Word extends string>(
  command: string,
  word: string | undefined,
  known: readonly Word[],
): Word {
  const found = known.find((candidate) => candidate === word);
  if (found !== undefined) return found;
  throw new Failure(
    "invalid_argument",
    `cannot run ${command} ${JSON.stringify(word ?? "")}: want ${
      known.map((name) => `${command} ${name}`).join(" or ")
    }`,
  );
}
