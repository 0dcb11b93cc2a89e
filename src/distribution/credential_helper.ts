import * as v from "valibot";
import { Failure } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { Children } from "../linux/children.ts";
import { findProgram, programFolders } from "../linux/find_program.ts";
import { type HelperOutcome, type HelperProgram, runHelper } from "../linux/helper_program.ts";
import { Kernel } from "../linux/kernel.ts";
import { type Credentials, password } from "./credentials.ts";
import { printable } from "./registry_error.ts";

/** A helper may ask a keyring, or a service elsewhere. */
const timeoutMs = 30_000;

const Answer = v.object({ Username: v.string(), Secret: v.string() });

/**
 * The programs that keep credentials for Docker: `docker-credential-<name> get`.
 * @see https://github.com/docker/docker-credential-helpers#development
 */
export class CredentialHelpers {
  readonly #host: Host;
  readonly #kernel: Kernel;

  constructor(host: Host) {
    this.#host = host;
    this.#kernel = new Kernel(host);
  }

  /**
   * @param server what the helper knows the credentials by.
   * @returns undefined where it has none. @throws failed_precondition for a helper that is not there or fails;
   * deadline_exceeded.
   */
  async ask(program: string, server: string): Promise<Credentials | undefined> {
    const action = `cannot ask ${program} for the credentials of ${server}`;
    if (!/^docker-credential-[A-Za-z0-9._-]+$/.test(program)) {
      throw new Failure("failed_precondition", `${action}: want a name of letters, digits, dots and dashes`);
    }
    const path = findProgram(this.#kernel, program);
    if (path === undefined) {
      throw new Failure(
        "failed_precondition",
        `${action}: it is in none of ${programFolders.join(", ")}: install it, or log in without it`,
      );
    }
    // Helpers find their keyrings and accounts by the environment.
    const env = Object.entries(this.#host.env).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}=${value}`]
    );
    const input = new TextEncoder().encode(server);
    const { code, stdout, stderr } = await this.#run({ args: [path, "get"], env, input, timeoutMs });
    if (code !== 0) {
      const said = printable(stdout || stderr);
      if (/credentials not found/i.test(said)) return undefined;
      throw new Failure("failed_precondition", `${action}: it ended with ${code}${said === "" ? "" : `: ${said}`}`);
    }
    const parsed = v.safeParse(Answer, jsonOf(stdout));
    // What it said may be half a secret.
    if (!parsed.success) throw new Failure("failed_precondition", `${action}: what it said is not Username and Secret`);
    return password(parsed.output.Username, parsed.output.Secret);
  }

  async #run(program: HelperProgram): Promise<HelperOutcome> {
    const children = new Children(this.#kernel);
    try {
      return await runHelper(this.#kernel, children, program);
    } finally {
      children.close();
    }
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
