import type { Image } from "../core/image.ts";
import { callList } from "./call.ts";
import { type Command, text } from "./command.ts";
import { namespaceFlag } from "./flags.ts";
import { ago, table } from "./output.ts";

export const images: Command = {
  name: "images",
  summary: "list the images that are here",
  usage: "images [options]",
  flags: namespaceFlag,
  async run({ connect, flags, output }) {
    await using connection = await connect();
    const items = await callList<Image>(connection, "/v1/images", { query: { namespace: text(flags, "namespace") } });
    table(
      output,
      ["name", "digest", "created"],
      items.map((image) => [image.name, image.target.digest.slice(0, 19), ago(image.createdAt)]),
      items,
    );
    return 0;
  },
};
