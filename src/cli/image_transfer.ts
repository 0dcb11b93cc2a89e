import { codeOf, Failure } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import { jsonLines } from "./answer.ts";
import type { Output } from "./output.ts";
import { progressBars, type ProgressLine } from "./progress.ts";

/** An image as the last line of its pull or push tells it. */
export type ImageLine = Pick<Image, "name" | "target">;

/** Draws the progress of a pull or push. @param action what breaks off where the answer does: `pull busybox`. */
export async function transfer(
  answer: Parameters<typeof jsonLines>[0],
  output: Output,
  action: string,
): Promise<ImageLine> {
  const bars = progressBars(output);
  try {
    for await (const line of jsonLines(answer)) {
      if ("progress" in line) bars.step(line["progress"] as ProgressLine);
      else if ("image" in line) return line["image"] as ImageLine;
      else throw new Failure(codeOf(line["error"]), String((line["error"] as { detail?: unknown })?.detail));
    }
  } finally {
    bars.done();
  }
  throw new Failure("unavailable", `cannot ${action}: the daemon's answer broke off`);
}
