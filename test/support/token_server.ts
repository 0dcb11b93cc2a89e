import { execFile } from "node:child_process";
import { createPrivateKey, sign, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const service = "registry.test";
const issuer = "mayfly token server";

/** The server of a registry's bearer tokens. Repositories below `public/` may be pulled by everybody. */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** The file of the certificate that its tokens are signed with. */
  readonly certificate: string;
  /** An OAuth2 refresh token of its user. */
  readonly identityToken: string;
  /** How it was asked, the oldest first: `GET alice repository:a:pull`. */
  readonly asked: readonly string[];
}

/** Starts a token server on a free port of 127.0.0.1. @see https://distribution.github.io/distribution/spec/auth/jwt/ */
export async function startTokenServer(
  folder: string,
  user: { readonly username: string; readonly password: string },
): Promise<TokenServer> {
  const [key, certificate] = [join(folder, "token.key"), join(folder, "token.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  await run("openssl", [
    "req",
    "-x509",
    ...curve,
    "-nodes",
    "-days",
    "2",
    "-subj",
    "/CN=t",
    "-keyout",
    key,
    "-out",
    certificate,
  ]);
  const privateKey = createPrivateKey(await readFile(key));
  const x5c = [new X509Certificate(await readFile(certificate)).raw.toString("base64")];
  const identityToken = "identity-token-of-alice";
  const basic = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}`;
  const asked: string[] = [];

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const fields = request.method === "POST" ? new URLSearchParams(await bodyOf(request)) : url.searchParams;
    const { authorization } = request.headers;
    const known = authorization === basic || fields.get("refresh_token") === identityToken;
    const scopes = fields.getAll("scope").flatMap((scope) => scope.split(" "));
    asked.push(
      `${request.method} ${known ? user.username : authorization === undefined ? "-" : "?"} ${scopes.join(" ")}`,
    );
    if (!known && (authorization !== undefined || fields.has("refresh_token"))) {
      response.writeHead(401, { "content-type": "application/json" });
      return response.end(JSON.stringify({ details: "incorrect username or password" }));
    }
    const access = scopes.flatMap((scope) => {
      const [type, name = "", actions = ""] = scope.split(":");
      const allowed = known ? actions.split(",") : name.startsWith("public/") ? ["pull"] : [];
      return allowed.length === 0 ? [] : [{ type, name, actions: allowed }];
    });
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer, sub: known ? user.username : "", aud: service, jti: "1", iat: now };
    const times = { nbf: now - 10, exp: now + 300 };
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ typ: "JWT", alg: "ES256", x5c })}.${part({ ...claims, ...times, access })}`;
    const signature = sign("sha256", Buffer.from(text), { key: privateKey, dsaEncoding: "ieee-p1363" });
    const token = `${text}.${signature.toString("base64url")}`;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(request.method === "POST" ? { access_token: token } : { token, expires_in: 300 }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    service,
    issuer,
    certificate,
    identityToken,
    asked,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}
