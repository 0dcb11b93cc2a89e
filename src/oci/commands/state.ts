import { type OciCommand, say } from "../command.ts";
import { stateDocument } from "../document.ts";

export const state: OciCommand = {
  name: "state",
  summary: "print the state of a container",
  usage: "state <id>",
  flags: {},
  words: { min: 1, max: 1 },
  async run({ store, words: [id = ""] }) {
    say(JSON.stringify(stateDocument(store.load(id)), undefined, 2));
    return 0;
  },
};
