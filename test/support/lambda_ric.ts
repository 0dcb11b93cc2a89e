import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const version = "4.0.2";
const folder = join(homedir(), `.cache/mayfly-tests/aws-lambda-ric-${version}`);

/**
 * AWS's own runtime client for Node, where somebody has built it here: it takes cmake, a compiler and some minutes, which is
 * more than a test has.
 */
export const lambdaRic = {
  /** Its `node_modules`. */
  modules: join(folder, "node_modules"),
  /** Why it is not there. */
  lacking: existsSync(join(folder, "node_modules/aws-lambda-ric/rapid-client.node"))
    ? undefined
    : `npm install --prefix ${folder} aws-lambda-ric@${version}`,
} as const;
