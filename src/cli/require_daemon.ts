import { Failure } from "../core/errors.ts";
import type { Connection } from "./connection.ts";

/** @throws failed_precondition where no daemon runs: what runs on without this command lives in one. */
export function requireDaemon({ own }: Pick<Connection, "own">, what: string): void {
  if (!own) return;
  throw new Failure(
    "failed_precondition",
    `cannot ${what}: no daemon runs, and the container lives in it: start one with \`mayfly serve\` (see examples/systemd)`,
  );
}
