import { codeOf, messageOf } from "../core/errors.ts";
import type { CommandContext } from "./command.ts";
import type { Connection } from "./connection.ts";
import { exitStatus } from "./exit_status.ts";

/**
 * Does something to each of the words, one after another, and goes on behind a failure, as Docker does. Writes each that it
 * was done to. @returns the exit status: that of the last failure, or 0.
 */
export async function each(
  { connect, words, output }: Pick<CommandContext, "connect" | "words" | "output">,
  act: (connection: Connection, word: string) => Promise<void>,
): Promise<number> {
  await using connection = await connect();
  let status = 0;
  for (const word of words) {
    try {
      await act(connection, word);
      output.line(word);
    } catch (error) {
      if (codeOf(error) === "internal") throw error;
      if (words.length === 1) throw error;
      output.note(`mayfly: ${messageOf(error)}`);
      status = exitStatus(error);
    }
  }
  return status;
}
