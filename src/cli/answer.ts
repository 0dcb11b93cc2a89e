import { codeOf, Failure } from "../core/errors.ts";

/** What is used of an answer; its JSON has the type that the API's client gives it. */
interface Answer<T> {
  readonly ok: boolean;
  readonly status: number;
  json(): Promise<T>;
}

/** An answer's JSON. @throws what its problem says. */
export async function result<T>(answer: Promise<Answer<T>>): Promise<T> {
  return await (await succeeded(answer)).json();
}

/** An answer whose body nobody reads. @throws what its problem says. */
export async function done(answer: Promise<Answer<unknown> & Pick<Response, "body">>): Promise<void> {
  await (await succeeded(answer)).body?.cancel();
}

/** The answer itself, for who reads its body as it comes. @throws what its problem says. */
export async function succeeded<A extends Answer<unknown>>(answer: Promise<A>): Promise<A> {
  const arrived = await answer;
  if (arrived.ok) return arrived;
  const problem = await readProblem(arrived);
  const detail = problem["detail"] ?? problem["title"] ?? `the daemon answered ${arrived.status}`;
  throw new Failure(codeOf(problem), String(detail), { details: problem });
}

async function readProblem(answer: Answer<unknown>): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await answer.json() as Readonly<Record<string, unknown>>;
  } catch {
    // Not the daemon's own words, as from a proxy in between: the status has to do.
    return {};
  }
}

/** Reads an answer of JSON lines as they come. @throws unavailable when it breaks off. */
export async function* jsonLines({ body }: Pick<Response, "body">): AsyncGenerator<Readonly<Record<string, unknown>>> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const piece of body ?? []) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") yield JSON.parse(line);
  }
  if (rest !== "") throw new Failure("unavailable", "the daemon's answer broke off");
}
