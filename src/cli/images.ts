import { familiarReference, parseReference } from "../core/reference.ts";
import { result } from "./answer.ts";
import type { Command } from "./command.ts";
import { namespaceFlag, scope } from "./flags.ts";
import { ago, table } from "./output.ts";

export const images: Command = {
  name: "images",
  summary: "list the images that are here",
  usage: "images [options]",
  flags: { ...namespaceFlag, digests: { type: "boolean", help: "whole digests" } },
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const { items } = await result(connection.api.v1.images.$get({ query: scope(flags) }));
    table(
      output,
      ["name", "digest", "created"],
      items.map((
        image,
      ) => [
        familiarReference(parseReference(image.name)),
        flags["digests"] === true ? image.target.digest : image.target.digest.slice(0, 19),
        ago(image.createdAt),
      ]),
      items,
    );
    return 0;
  },
};
