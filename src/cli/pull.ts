import { readFileSync } from "node:fs";
import { codeOf, Failure } from "../core/errors.ts";
import type { Image } from "../core/image.ts";
import { jsonLines, succeeded } from "./answer.ts";
import { type Command, text } from "./command.ts";
import type { Connection } from "./connection.ts";
import { namespaceFlag } from "./flags.ts";
import type { Output } from "./output.ts";
import { progressBars, type ProgressLine } from "./progress.ts";

export const pull: Command = {
  name: "pull",
  summary: "fetch an image from a registry",
  usage: "pull [options] <reference>",
  examples: ["mayfly pull docker.io/library/busybox:1.36", "mayfly pull localhost:5000/team/tool@sha256:…"],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    platform: { type: "string", value: "os/arch", help: "in place of this machine's" },
    username: { type: "string", short: "u", value: "name", help: "in place of what Docker's config.json says" },
    "password-stdin": { type: "boolean", help: "read the password from standard input" },
  },
  async run({ connect, words: [reference = ""], flags, output }) {
    const username = text(flags, "username");
    if (username !== undefined && flags["password-stdin"] !== true) {
      throw new Failure(
        "invalid_argument",
        "--username wants --password-stdin: a password on the command line is seen by everybody",
      );
    }
    await using connection = await connect();
    const image = await pullImage(connection, output, {
      reference,
      namespace: text(flags, "namespace"),
      platform: text(flags, "platform"),
      credentials: username === undefined
        ? undefined
        : { username, password: readFileSync(0, "utf8").replace(/\r?\n$/, "") },
    });
    output.line(output.json ? JSON.stringify(image, undefined, 2) : `${image.name}@${image.target.digest}`);
    return 0;
  },
};

interface PullRequest {
  readonly reference: string;
  readonly namespace: string | undefined;
  readonly platform?: string | undefined;
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
}

/** Pulls through the API and draws its progress. */
export async function pullImage(
  connection: Connection,
  output: Output,
  request: PullRequest,
): Promise<Pick<Image, "name" | "target">> {
  const { namespace, ...json } = request;
  const answer = await succeeded(connection.api.v1.images.$post({ query: { namespace }, json }));
  const bars = progressBars(output);
  try {
    for await (const line of jsonLines(answer)) {
      if ("progress" in line) bars.step(line["progress"] as ProgressLine);
      else if ("image" in line) return line["image"] as Pick<Image, "name" | "target">;
      else throw new Failure(codeOf(line["error"]), String((line["error"] as { detail?: unknown })?.detail));
    }
  } finally {
    bars.done();
  }
  throw new Failure("unavailable", `cannot pull ${request.reference}: the daemon's answer broke off`);
}
