import { GrowingBytes } from "../core/growing_bytes.ts";
import { Pace } from "../core/pace.ts";
import { refusal, type RegistryCode } from "./errors.ts";

export interface BodyOptions {
  /** How long its sender may keep it waiting, as `Pace` says. */
  readonly timeoutMs: number;
  /** What a body that does not come is answered with. */
  readonly code: RegistryCode;
  /** Gives it up. */
  readonly signal?: AbortSignal;
}

/** The parts of a request's body. @throws the code where it breaks off, or does not come in time (408). */
export async function* bodyParts(
  body: ReadableStream<Uint8Array> | null,
  { timeoutMs, code, signal }: BodyOptions,
): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  const pace = new Pace(timeoutMs);
  let why: { readonly message: string; readonly status: number } | undefined;
  const giveUp = (reason: typeof why) => {
    why ??= reason;
    reader.cancel().catch(() => {});
  };
  const onAbort = () => giveUp({ message: "another request took its place", status: 409 });
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  try {
    for (;;) {
      let part: { readonly done: boolean; readonly value?: Uint8Array | undefined };
      try {
        part = await pace.wait(reader.read(), () => {
          giveUp({ message: `it came too slowly, after ${pace.bytes} bytes`, status: 408 });
        });
      } catch (cause) {
        throw refusal(code, `cannot take the body: it broke off after ${pace.bytes} bytes`, { cause });
      }
      if (why !== undefined) throw refusal(code, `cannot take the body: ${why.message}`, { status: why.status });
      if (part.value === undefined) return;
      pace.bytes += part.value.length;
      yield part.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    // The sender may go on as it likes; what it sends is read by nobody.
    reader.cancel().catch(() => {});
  }
}

/** Reads a small body. @throws as `bodyParts`; the code with 413 over the limit. */
export async function smallBody(
  body: ReadableStream<Uint8Array> | null,
  { limitBytes, ...options }: BodyOptions & { readonly limitBytes: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new GrowingBytes();
  for await (const part of bodyParts(body, options)) {
    if (bytes.length + part.length > limitBytes) {
      throw refusal(options.code, `cannot take the body: it has more than ${limitBytes} bytes`, { status: 413 });
    }
    bytes.push(part);
  }
  return bytes.bytes();
}
