import * as v from "valibot";
import { codeOf, Failure, messageOf } from "../../core/errors.ts";
import { parse } from "../../core/parse.ts";
import type { Children } from "../../linux/children.ts";
import { helperEnvironment, runHelper } from "../../linux/helper_program.ts";
import type { Kernel } from "../../linux/kernel.ts";

/** The address of a container, with the length of its prefix. */
const IpSchema = v.looseObject({ address: v.pipe(v.string(), v.maxLength(128)) });

/** What of a plugin's result is used here; the next plugin gets all of it. */
export const ResultSchema = v.looseObject({
  ips: v.optional(v.pipe(v.array(IpSchema), v.maxLength(256)), []),
  dns: v.optional(v.looseObject({ nameservers: v.optional(v.pipe(v.array(v.string()), v.maxLength(16)), []) }), {}),
});
export type Result = v.InferOutput<typeof ResultSchema>;

const ErrorSchema = v.looseObject({ code: v.number(), msg: v.string(), details: v.optional(v.string(), "") });

export interface CallParts {
  readonly kernel: Kernel;
  readonly children: Children;
  readonly timeoutMs: number;
}

export interface CniCall {
  readonly command: "ADD" | "DEL";
  /** The plugin's program. */
  readonly program: string;
  readonly containerId: string;
  /** The path of the network namespace; empty for one that is gone. */
  readonly namespace: string;
  readonly interfaceName: string;
  /** Where plugins find those that they call themselves. */
  readonly programs: readonly string[];
  /** What the plugin is told on its standard input. */
  readonly input: Readonly<Record<string, unknown>>;
}

/**
 * Calls a plugin.
 * @returns what it says; undefined where it says nothing.
 * @throws failed_precondition with the plugin's own words; deadline_exceeded.
 * @see https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md#section-2-execution-protocol
 */
export async function callPlugin(
  { kernel, children, timeoutMs }: CallParts,
  call: CniCall,
): Promise<Result | undefined> {
  const env = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: call.namespace,
    CNI_IFNAME: call.interfaceName,
    CNI_PATH: call.programs.join(":"),
  };
  const action = `CNI plugin ${call.program} failed in ${call.command}`;
  const failed = (why: string, cause?: unknown) =>
    new Failure(
      codeOf(cause) === "deadline_exceeded" ? "deadline_exceeded" : "failed_precondition",
      `${action}: ${why}`,
      {
        cause,
      },
    );
  const { code, stdout, stderr } = await runHelper(kernel, children, {
    args: [call.program],
    env: [...helperEnvironment, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
    input: new TextEncoder().encode(JSON.stringify(call.input)),
    timeoutMs,
  }).catch((error: unknown) => {
    throw failed(messageOf(error), error);
  });
  let document: unknown;
  try {
    document = stdout.trim() === "" ? undefined : JSON.parse(stdout);
  } catch (error) {
    if (code === 0) throw failed("it said what is no JSON", error);
  }
  if (code === 0) {
    return document === undefined ? undefined : parse(ResultSchema, document, `cannot use what ${call.program} said`);
  }
  const said = v.safeParse(ErrorSchema, document);
  if (!said.success) throw failed(`it ended with ${code}: ${(stderr || stdout).trim().slice(0, 1000)}`);
  const { msg, details } = said.output;
  throw failed(`${msg}${details === "" ? "" : `: ${details}`}`.slice(0, 1000));
}
