import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Failure } from "../../core/errors.ts";
import { isSet, text } from "../arguments.ts";
import type { OciCommand } from "../command.ts";
import { defaultSpec } from "../default_spec.ts";

export const spec: OciCommand = {
  name: "spec",
  summary: "write a config.json to begin with",
  usage: "spec [--bundle <folder>] [--rootless]",
  flags: {
    bundle: { type: "text", short: "b", help: "the bundle's folder (default: the current one)" },
    rootless: { type: "boolean", help: "one that a user who is not root can run" },
  },
  words: { min: 0, max: 0 },
  async run(context) {
    const file = resolve(text(context, "bundle") ?? ".", "config.json");
    try {
      writeFileSync(file, `${JSON.stringify(defaultSpec({ rootless: isSet(context, "rootless") }), undefined, 2)}\n`, {
        flag: "wx",
      });
    } catch (cause) {
      if (!(cause instanceof Error && "code" in cause && cause.code === "EEXIST")) throw cause;
      throw new Failure("already_exists", `cannot write ${JSON.stringify(file)}: there is one already`, { cause });
    }
    return 0;
  },
};
