import { type Command, text } from "./command.ts";
import type { Connection } from "./connection.ts";
import { namespaceFlag } from "./flags.ts";
import { type ImageLine, transfer } from "./image_transfer.ts";
import type { Output } from "./output.ts";
import { credentials, registryFlags } from "./registry_flags.ts";
import { succeeded } from "./answer.ts";

export const pull: Command = {
  name: "pull",
  summary: "fetch an image from a registry",
  usage: "pull [options] <reference>",
  examples: ["mayfly pull docker.io/library/busybox:1.36", "mayfly pull localhost:5000/team/tool@sha256:…"],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    platform: { type: "string", value: "os/arch", help: "in place of this machine's" },
    "all-platforms": { type: "boolean", help: "what the image has for other platforms, too, to push or save it whole" },
    ...registryFlags,
  },
  async run({ connect, words: [reference = ""], flags, output }) {
    const login = credentials(flags);
    await using connection = await connect();
    const image = await pullImage(connection, output, {
      reference,
      namespace: text(flags, "namespace"),
      platform: text(flags, "platform"),
      allPlatforms: flags["all-platforms"] === true ? true : undefined,
      ...login,
    });
    output.line(output.json ? JSON.stringify(image, undefined, 2) : `${image.name}@${image.target.digest}`);
    return 0;
  },
};

interface PullRequest {
  readonly reference: string;
  readonly namespace: string | undefined;
  readonly platform?: string | undefined;
  readonly allPlatforms?: boolean | undefined;
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  readonly plainHttp?: boolean | undefined;
}

/** Pulls through the API and draws its progress. */
export async function pullImage(connection: Connection, output: Output, request: PullRequest): Promise<ImageLine> {
  const { namespace, ...json } = request;
  const answer = await succeeded(connection.api.v1.images.$post({ query: { namespace }, json }));
  return await transfer(answer, output, `pull ${request.reference}`);
}
