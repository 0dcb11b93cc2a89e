import type { TlsIdentity } from "../core/host.ts";
import type { BunServer } from "./bun_shapes.ts";

/**
 * A server that is followed by another on the same port, since Bun takes a certificate once. Both listen for a moment, so that
 * no connection is refused; the one before ends when its requests have.
 */
export class RenewedServer {
  readonly #start: (identity: TlsIdentity | undefined, port: number | undefined) => BunServer;
  readonly #before = new Set<BunServer>();
  #server: BunServer;

  /** @param start begins to listen; the first time without a port of its own. */
  constructor(start: (identity: TlsIdentity | undefined, port: number | undefined) => BunServer, tls?: TlsIdentity) {
    this.#start = start;
    this.#server = start(tls, undefined);
  }

  get port(): number | undefined {
    return this.#server.port;
  }

  renew(identity: TlsIdentity): void {
    const before = this.#server;
    this.#server = this.#start(identity, before.port);
    this.#before.add(before);
    void before.stop().finally(() => this.#before.delete(before));
  }

  async stop(force: boolean): Promise<void> {
    await Promise.all([this.#server, ...this.#before].map((server) => server.stop(force)));
  }
}
