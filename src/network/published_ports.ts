import type { Host, Listener, TcpConnection } from "../core/host.ts";
import type { PortPublisher, PortTarget, Publication, PublishedPort } from "../core/published_port.ts";
import { F_DUPFD_CLOEXEC, SHUT_WR } from "../linux/flags.ts";
import type { ContainerNetworks } from "./container_network.ts";

export interface PublishedPortsParts {
  readonly host: Host;
  readonly networks: ContainerNetworks;
}

/** A connection to a server in a container. */
interface Inside extends Disposable {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly writable: WritableStream<Uint8Array>;
  /** Tells the server that no more comes. */
  end(): void;
}

/** How many connections one container's ports have at once; one more is closed. */
const mostConnections = 1024;

/**
 * Leads ports of the machine into containers by connections that are copied here, made by sockets in the container's network
 * namespace: it needs no address and no interface for that, and sees them come from its own loopback.
 */
export class PublishedPorts implements PortPublisher {
  readonly #parts: PublishedPortsParts;

  constructor(parts: PublishedPortsParts) {
    this.#parts = parts;
  }

  async check(ports: readonly PublishedPort[]): Promise<void> {
    const publication = await this.publish(ports, { pid: () => undefined });
    await publication[Symbol.asyncDispose]();
  }

  async publish(ports: readonly PublishedPort[], target: PortTarget): Promise<Publication> {
    await using undo = new AsyncDisposableStack();
    const listeners: Pick<Listener, "port">[] = [];
    const connections = new Set<TcpConnection>();
    for (const { address, hostPort, containerPort } of ports) {
      const listener = await this.#parts.host.listenTcp({ hostname: address, port: hostPort }, (connection) => {
        if (connections.size >= mostConnections) return connection.cut();
        connections.add(connection);
        void this.#carry(connection, containerPort, target).finally(() => connections.delete(connection));
      });
      undo.defer(() => listener.close({ force: true }));
      listeners.push(listener);
    }
    const held = undo.move();
    return {
      ports: ports.map((port, index) => ({ ...port, hostPort: listeners[index]?.port ?? port.hostPort })),
      [Symbol.asyncDispose]: () => held.disposeAsync(),
    };
  }

  async #dial(pid: number, port: number, address: string | undefined): Promise<Inside> {
    const { host, networks: { kernel } } = this.#parts;
    using network = this.#parts.networks.open(pid);
    const socket = await network.dial(port, { address });
    // Streams close what they have when they are done with it; the end of what is sent is told by the third.
    const [sends, ends] = [0, 1].map(() => kernel.attempt("fcntl", socket, F_DUPFD_CLOEXEC, 0)) as [number, number];
    return {
      readable: host.readable(socket),
      writable: host.writable(sends),
      end: () => void kernel.attempt("shutdown", ends, SHUT_WR),
      [Symbol.dispose]: () => void kernel.attempt("close", ends),
    };
  }

  /** Copies both directions to their ends. A connection that cannot be made, or breaks, is cut. Never rejects. */
  async #carry(connection: TcpConnection, port: number, target: PortTarget): Promise<void> {
    try {
      const pid = target.pid();
      if (pid === undefined) return connection.cut();
      using inside = await this.#dial(pid, port, target.address?.());
      await Promise.all([
        connection.readable.pipeTo(inside.writable).then(() => inside.end()),
        inside.readable.pipeTo(connection.writable),
      ]);
    } catch {
      // Nobody listens in it, or one side went away: the other is told by the same.
      connection.cut();
    }
  }
}
