import type { FunctionSettings } from "../../core/function.ts";
import type { SpecMount } from "../../core/spec.ts";

/**
 * AWS Lambda gives every container a /tmp that its user may write to and execute from, whatever the image has there. A
 * function that mounts something there has its own.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html
 */
export function temporaryFolder({ protocol, mounts, scratchBytes }: FunctionSettings): readonly SpecMount[] {
  if (protocol !== "lambda" || mounts.some(({ target }) => /^\/+(?:\.\/+)*tmp(?:\/|$)/.test(target))) return [];
  const options = ["nosuid", "nodev", "mode=1777", `size=${scratchBytes || leastBytes}`];
  return [{ destination: "/tmp", type: "tmpfs", source: "tmpfs", options }];
}

/** Zero would be no limit. */
const leastBytes = 4096;
