/** What one test file did. */
export interface Outcome {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly { readonly name: string; readonly text: string }[];
}

/**
 * Reads a JUnit report as Node, Deno and Bun write it. Only leaves count: Deno reports a group as a case of its own, before
 * its steps.
 */
export function parseJunit(xml: string): Outcome {
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>(.*?)<\/testcase>)/gs)].map(
    ([, attributes = "", content = ""]) => ({
      name: decode([attribute(attributes, "classname"), attribute(attributes, "name")].filter(isGroup).join(" > ")),
      own: decode(attribute(attributes, "name")),
      failure: /<(?:failure|error)\b/.test(content) ? content : undefined,
      skipped: /<skipped\b/.test(content),
    }),
  );
  const parents = new Set(cases.flatMap(({ own }) => prefixes(own)));
  const leaves = cases.filter(({ own }) => !parents.has(own));
  const failed = leaves.filter(({ failure }) => failure !== undefined);
  // A group whose hook failed has a failure and no failed step.
  const groups = cases.filter(({ own, failure }) =>
    failure !== undefined && parents.has(own) && !failed.some((leaf) => leaf.own.startsWith(`${own} > `))
  );
  return {
    passed: leaves.filter(({ failure, skipped }) => failure === undefined && !skipped).length,
    skipped: leaves.filter(({ skipped }) => skipped).length,
    failures: [...failed, ...groups].map(({ name, failure = "" }) => ({ name, text: failureText(failure) })),
  };
}

/** A class name that says something: Deno's is a path, Node's for a test without a group is `test`. */
function isGroup(name: string): boolean {
  return name !== "" && name !== "test" && !/^(?:\.\/|ext:)/.test(name);
}

/** `a > b > c` has the parents `a` and `a > b`. */
function prefixes(name: string): string[] {
  const parts = name.split(" > ");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" > "));
}

function attribute(attributes: string, name: string): string {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
}

function failureText(content: string): string {
  const text = decode(content.replace(/<[^>]*>/g, "").trim());
  return text === "" ? decode(attribute(content, "message")) : text;
}

function decode(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replace(/&(lt|gt|quot|apos);/g, (_, name: string) => ({ lt: "<", gt: ">", quot: '"', apos: "'" })[name] ?? "")
    .replaceAll("&amp;", "&");
}
