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
    say(JSON.stringify(featuresDocument(await parts.capabilities(), version), undefined, 2));
    return 0;
  },
};
