import { Failure } from "../core/errors.ts";

const longest = 2048;

/**
 * Reads where a caller wants to be told how its call has ended.
 * @param hosts whom the daemon may tell: `example.com`, `example.com:8443`, `*.example.com`, `*`.
 * @throws invalid_argument; permission_denied for a host that is not among them: callers must not make the daemon send
 * requests to where they can send none.
 */
export function parseCallbackUrl(text: string, hosts: readonly string[]): string {
  const action = `cannot call back ${JSON.stringify(text.slice(0, 200))}`;
  if (text.length > longest || !URL.canParse(text)) {
    throw new Failure("invalid_argument", `${action}: want a URL of at most ${longest} characters in X-Callback-Url`);
  }
  const url = new URL(text);
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.username !== "" || url.password !== "") {
    throw new Failure("invalid_argument", `${action}: want http or https, and no user`);
  }
  if (!hosts.some((host) => fits(host, url))) {
    throw new Failure(
      "permission_denied",
      `${action}: the daemon may not send to ${url.host}: it is started with --callback-hosts and those that it may`,
    );
  }
  url.hash = "";
  return url.href;
}

function fits(pattern: string, { hostname, host, protocol, port }: URL): boolean {
  if (pattern === "*") return true;
  const [, name = "", wanted] = /^(.*?)(?::(\d+))?$/.exec(pattern) ?? [];
  const actual = port === "" ? (protocol === "https:" ? "443" : "80") : port;
  if (wanted !== undefined ? wanted !== actual : hostname !== host) return false;
  return name.startsWith("*.") ? hostname.endsWith(name.slice(1)) : hostname === name;
}
