import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

type Key = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];

/** An issuer of JWTs: its discovery document, its keys, and what it signs. */
export class OidcIssuer implements AsyncDisposable {
  readonly #server: Server;
  readonly #keys = new Map<string, { readonly jwk: object; readonly key: Key; readonly alg: string }>();
  /** What stands in its discovery document. */
  discovery: Record<string, unknown> = {};
  /** Answered with in place of everything. */
  status = 200;
  /** Behind its keys. */
  padding = "";
  asked: string[] = [];

  static async start(port = 0): Promise<OidcIssuer> {
    const server = createServer((request, answer) => {
      const path = request.url ?? "";
      issuer.asked.push(path);
      const document = path === "/.well-known/openid-configuration"
        ? { issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, ...issuer.discovery }
        : path === "/keys"
        ? { keys: [...issuer.#keys.values()].map(({ jwk }) => jwk), padding: issuer.padding }
        : undefined;
      answer.writeHead(document === undefined ? 404 : issuer.status, { "content-type": "application/json" });
      answer.end(JSON.stringify(document));
    });
    const issuer = new OidcIssuer(server);
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    return issuer;
  }

  private constructor(server: Server) {
    this.#server = server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async addKey(kid: string, alg: string): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    this.#keys.set(kid, { jwk: { ...await exportJWK(publicKey), kid, alg, use: "sig" }, key: privateKey, alg });
  }

  removeKey(kid: string): void {
    this.#keys.delete(kid);
  }

  /** @param claims over those that are fine. */
  async sign(kid: string, claims: JWTPayload = {}, { named = kid }: { readonly named?: string } = {}): Promise<string> {
    const { key, alg } = this.#keys.get(kid) ?? {};
    if (key === undefined || alg === undefined) throw new Error(`no key ${kid}`);
    const now = Math.floor(Date.now() / 1000);
    return await new SignJWT({ iss: this.url, aud: "mayfly", sub: "alice", iat: now, exp: now + 600, ...claims })
      .setProtectedHeader({ alg, kid: named }).sign(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
