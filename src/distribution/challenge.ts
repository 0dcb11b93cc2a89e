/** One challenge of a WWW-Authenticate header: a scheme in lower case, and its parameters by lower-case names. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const maxLength = 16 * 1024;
const tokenPattern = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const blankPattern = /[ \t]*/y;
const separatorPattern = /[ \t,]*/y;
const token68Pattern = /[A-Za-z0-9._~+/-]+=*/y;
const quotedPattern = /"((?:[^"\\]|\\.)*)"/y;

/**
 * Parses the value of WWW-Authenticate, where several challenges may follow each other, each with parameters that are
 * separated by the same commas. What cannot be read ends the parse: the challenges before it stand.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: Challenge[] = [];
  if (header.length > maxLength) return challenges;
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };

  let parameters = new Map<string, string>();
  while (at < header.length) {
    take(separatorPattern);
    const name = take(tokenPattern)?.[0].toLowerCase();
    if (name === undefined) break;
    const behind = at;
    take(blankPattern);
    if (header[at] === "=" && challenges.length > 0) {
      at++;
      take(blankPattern);
      const quoted = take(quotedPattern)?.[1];
      const value = quoted === undefined ? take(tokenPattern)?.[0] : quoted.replace(/\\(.)/g, "$1");
      if (value === undefined) break;
      if (!parameters.has(name)) parameters.set(name, value);
      continue;
    }
    parameters = new Map();
    challenges.push({ scheme: name, parameters });
    if (at === behind) continue;
    skipToken68();
  }
  return challenges;

  /** Passes over `Negotiate YII=`, which is no parameter: nothing or a comma stands behind it. */
  function skipToken68(): void {
    const start = at;
    take(token68Pattern);
    take(blankPattern);
    if (at < header.length && header[at] !== ",") at = start;
  }
}
