import { lambdaRuntime } from "./lambda_runtime.ts";

/** A function that does what it should not, and what its caller is to be told. */
export interface BadFunction {
  readonly name: string;
  /** Beside the image, `PUT /v1/functions/{name}`. */
  readonly input: Readonly<Record<string, unknown>>;
  /** What it is sent. */
  readonly body: string;
  /** The statuses that tell the truth, each with the last part of the problem's type. */
  readonly told: readonly string[];
}

const script = (text: string) => ({ command: ["sh", "-c", text] });
/** Of what would go on for ever. */
const timeoutMs = 2000;
const timeout = ["504 timeout"];

/**
 * The bad functions of an image with busybox in it. Where the head of the answer has left before it went wrong, the
 * connection is cut: `cut`.
 */
export const badFunctions: readonly BadFunction[] = [
  { name: "never-reads", input: script("sleep 1; echo done"), body: "x".repeat(4_000_000), told: ["200"] },
  { name: "never-ends", input: { ...script("while :; do :; done"), timeoutMs }, body: "", told: timeout },
  {
    name: "fork-bomb",
    input: { ...script("bomb() { bomb | bomb & bomb; }; bomb & exec sleep 1000"), timeoutMs },
    body: "",
    told: timeout,
  },
  {
    name: "fills-memory",
    input: script("busybox dd if=/dev/zero of=/dev/null bs=1000M count=1; exit 1"),
    body: "",
    told: ["500 out-of-memory"],
  },
  { name: "fills-disk", input: script("busybox dd if=/dev/zero of=/big bs=64k"), body: "", told: ["500 out-of-space"] },
  { name: "fills-stdout", input: { ...script("exec cat /dev/zero"), timeoutMs }, body: "", told: ["cut"] },
  { name: "fills-stderr", input: { ...script("exec cat /dev/zero >&2"), timeoutMs }, body: "", told: timeout },
  { name: "closes-stdout", input: { ...script("exec >&-; sleep 1000"), timeoutMs }, body: "", told: timeout },
  { name: "ignores-sigterm", input: { ...script("trap '' TERM; sleep 1000"), timeoutMs }, body: "", told: timeout },
  {
    name: "malformed-http",
    input: { ...script("while :; do echo HTTP/9 what | nc -l -p 8080; done"), protocol: "http", timeoutMs },
    body: "",
    told: ["502 bad-answer"],
  },
  {
    name: "hangs-runtime-api",
    input: { ...script(lambdaRuntime), protocol: "lambda", timeoutMs },
    body: '"hang"',
    told: timeout,
  },
  {
    name: "dies-before-ready",
    input: { ...script("sleep 0.1; exit 3"), protocol: "http", timeoutMs },
    body: "",
    told: ["502 died"],
  },
];

/** Calls one and reads its answer to the end. @returns what the caller was told, as in `BadFunction.told`. */
export async function callBad(url: string, { name, body }: BadFunction, signal?: AbortSignal): Promise<string> {
  const answer = await fetch(`${url}/fn/${name}`, {
    method: "POST",
    body,
    ...(signal === undefined ? {} : { signal }),
  });
  if (!answer.ok) {
    const { type } = await answer.json() as { type?: string };
    return `${answer.status} ${type?.split(/[:/#]/).at(-1) ?? ""}`;
  }
  try {
    for await (const _part of answer.body ?? []);
    return String(answer.status);
  } catch {
    return signal?.aborted ? "given up" : "cut";
  }
}
