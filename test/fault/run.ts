/**
 * Kills the daemon again and again, and looks for what is left: `npm run fault -- [--rounds 200] [--seed N]`. It runs on the
 * host that runs it. A failure names the seed, which repeats it as far as the machine does.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { faultRounds } from "./rounds.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "200" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
  },
});
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];
const started = Date.now();
console.log(`${rounds} rounds, seed ${seed}`);
await faultRounds({ rounds, seed, say: console.log });
console.log(`${rounds} rounds left nothing, in ${((Date.now() - started) / 1000).toFixed(0)} s`);
process.exit(0);
