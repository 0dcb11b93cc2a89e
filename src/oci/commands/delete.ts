import { codeOf, Failure } from "../../core/errors.ts";
import { isSet } from "../arguments.ts";
import type { OciCommand } from "../command.ts";
import { removeContainer } from "../removing.ts";
import { statusOf } from "../status.ts";

export const deleteCommand: OciCommand = {
  name: "delete",
  summary: "remove a container that has stopped, or was never started",
  usage: "delete [--force] <id>",
  flags: { force: { type: "boolean", short: "f", help: "kill it where it runs; no error where there is none" } },
  asRoot: true,
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const force = isSet(context, "force");
    let record;
    try {
      record = store.load(id);
    } catch (error) {
      if (!force || codeOf(error) !== "not_found") throw error;
      // What a creation that was killed has left holds the id.
      if (store.has(id)) store.remove(id);
      return 0;
    }
    const status = statusOf(record);
    if (!force && status !== "stopped" && status !== "created") {
      throw new Failure(
        "failed_precondition",
        `cannot delete container ${
          JSON.stringify(id)
        }: container is not stopped, it is ${status}: kill it, or use --force`,
      );
    }
    await removeContainer(context, record);
    return 0;
  },
};
