import { Failure } from "../core/errors.ts";
import { type ByteString, toText } from "../linux/byte_string.ts";

/** Every header of a tar archive, and every piece of content, begins on a multiple of it. */
export const blockBytes = 512;

/** The refusal of an archive that keeps to no form of tar. */
export function malformed(why: string, path?: ByteString): Failure {
  const where = path === undefined ? "" : ` at ${JSON.stringify(toText(path.slice(0, 300)))}`;
  return new Failure("invalid_argument", `cannot read the tar archive${where}: ${why}`);
}
