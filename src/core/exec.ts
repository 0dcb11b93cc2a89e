import * as v from "valibot";
import { FunctionInputSchema } from "./function.ts";

const { command, env, user, workdir } = FunctionInputSchema.entries;
const characters = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(65_535));

/** In characters. */
export const TerminalSizeSchema = v.strictObject({ width: characters, height: characters });

/** What a caller says of one more process of a container. */
export const ExecInputSchema = v.strictObject({
  /** The command and its arguments. */
  command: command.wrapped,
  /** Over the environment of the container's own process. */
  env,
  /** As for a container. Default: the user of the container's own process. */
  user,
  /** Default: the working folder of the container's own process. */
  workdir,
  /** Its standard streams are a terminal. */
  tty: v.optional(v.boolean(), false),
  /** The terminal's. */
  size: v.optional(TerminalSizeSchema),
  /** Unique within its task. Default: a new one. */
  id: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/))),
});
export type ExecSettings = v.InferOutput<typeof ExecInputSchema>;
