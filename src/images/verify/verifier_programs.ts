import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Failure, messageOf } from "../../core/errors.ts";
import type { Host } from "../../core/host.ts";
import type { ImageToVerify, ImageVerifier } from "../../core/image_verifier.ts";
import { formatReference } from "../../core/reference.ts";
import { printable } from "../../distribution/registry_error.ts";
import { Children } from "../../linux/children.ts";
import { runHelper } from "../../linux/helper_program.ts";
import { Kernel } from "../../linux/kernel.ts";

/** As containerd has them by default. */
const maxPrograms = 10;
const defaultTimeoutMs = 10_000;

const descriptorType = "application/vnd.oci.descriptor.v1+json";

/**
 * The programs of a folder, each of which has to accept an image: containerd's image verifier binaries. Each gets the
 * image's descriptor as its input, accepts with the exit status 0, and says why on its standard output. It has no part of
 * the caller's environment, and runs as the daemon does.
 * @see https://github.com/containerd/containerd/blob/main/docs/image-verification.md
 */
export class VerifierPrograms implements ImageVerifier {
  readonly #kernel: Kernel;
  readonly #folder: string;
  readonly #timeoutMs: number;

  /** @param timeoutMs of each program. Default 10 s. */
  constructor(host: Host, folder: string, timeoutMs = defaultTimeoutMs) {
    this.#kernel = new Kernel(host);
    this.#folder = folder;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws also failed_precondition for a folder that cannot be read or has more than 10 files; deadline_exceeded. */
  async verify({ reference, target }: ImageToVerify): Promise<string> {
    const name = formatReference(reference);
    const action = `cannot accept ${name}`;
    const { mediaType, digest, size } = target;
    const input = new TextEncoder().encode(JSON.stringify({ mediaType, digest, size }));
    const args = ["-name", name, "-digest", digest, "-stdin-media-type", descriptorType];
    const kernel = this.#kernel;
    const children = new Children(kernel);
    try {
      const programs = await this.#programs(action);
      for (const program of programs) {
        const helper = { args: [join(this.#folder, program), ...args], input, timeoutMs: this.#timeoutMs };
        const { code, stdout } = await runHelper(kernel, children, helper).catch((error: unknown) => {
          const failure = error instanceof Failure && error.code === "deadline_exceeded" ? error.code : undefined;
          throw new Failure(
            failure ?? "failed_precondition",
            `${action}: cannot ask its verifier: ${messageOf(error)}`,
            {
              cause: error,
            },
          );
        });
        if (code === 0) continue;
        const said = printable(stdout.trim());
        throw new Failure(
          "permission_denied",
          `${action}: ${join(this.#folder, program)} refuses ${digest}: it ended with ${code}` +
            (said === "" ? " and gave no reason" : `: ${said}`),
          { details: { digest } },
        );
      }
      return `accepted by ${programs.join(", ") || "nobody: there are no programs"} in ${this.#folder}`;
    } finally {
      children.close();
    }
  }

  async #programs(action: string): Promise<readonly string[]> {
    const names = await readdir(this.#folder).catch((cause: unknown) => {
      throw new Failure("failed_precondition", `${action}: cannot list its verifiers: ${messageOf(cause)}`, { cause });
    });
    if (names.length <= maxPrograms) return names.sort();
    throw new Failure(
      "failed_precondition",
      `${action}: ${this.#folder} has ${names.length} files, want ${maxPrograms} verifiers at most`,
    );
  }
}
