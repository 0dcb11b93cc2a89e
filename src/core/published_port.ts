import * as v from "valibot";

const port = (min: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(65_535));

/** A port of the machine that leads to one of a container. */
export const PortSchema = v.strictObject({
  /** Where the machine listens. Default 127.0.0.1: for itself alone. */
  address: v.optional(v.pipe(v.string(), v.ip("an IP address")), "127.0.0.1"),
  /** 0 lets the kernel choose one at each start. */
  hostPort: v.optional(port(0), 0),
  containerPort: port(1),
  protocol: v.optional(v.literal("tcp", "tcp: there is no other yet"), "tcp"),
});
export type PublishedPort = v.InferOutput<typeof PortSchema>;

export const PortsSchema = v.pipe(v.array(PortSchema), v.maxLength(64, "64 ports at most"));

/** Where the server is that a port leads to. */
export interface PortTarget {
  /** The container's init, of which the caller knows that it was not reaped; undefined while there is none. */
  pid(): number | undefined;
  /** Where it listens. Default: its loopback. */
  address?(): string | undefined;
}

/** Leads ports of the machine into containers. */
export interface PortPublisher {
  /** Tries whether the ports are to be had. @throws as `publish`. */
  check(ports: readonly PublishedPort[]): Promise<void>;
  /**
   * Listens. A connection that comes while there is nobody to take it is closed.
   * @throws unavailable for a port in use; permission_denied for one that is not this user's; invalid_argument for an address
   * that the machine has not. Nothing listens then.
   */
  publish(ports: readonly PublishedPort[], target: PortTarget): Promise<Publication>;
}

/** Ports that are listened on. Disposing of it ends their connections too. */
export interface Publication extends AsyncDisposable {
  /** As they were asked for, with the ports that the kernel chose. */
  readonly ports: readonly PublishedPort[];
}
