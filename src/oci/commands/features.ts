import { version } from "../../version.ts";
import { type OciCommand, say } from "../command.ts";
import { featuresDocument } from "../features.ts";

export const features: OciCommand = {
  name: "features",
  summary: "print what this runtime can do",
  usage: "features",
  flags: {},
  words: { min: 0, max: 0 },
  async run({ parts }) {
    const { arch } = await parts.host();
    say(JSON.stringify(featuresDocument(await parts.features(arch), version), undefined, 2));
    return 0;
  },
};
