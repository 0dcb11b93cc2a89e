import { it } from "node:test";
import { faultRounds } from "./rounds.ts";

const seed = Date.now() % 1_000_000;

it(`a daemon that is killed at random moments, five times, leaves nothing (seed ${seed})`, async () => {
  await faultRounds({ rounds: 5, seed });
});
