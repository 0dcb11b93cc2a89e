import { Failure } from "../core/errors.ts";

/** `[address:][port:]port[/tcp]`, as Docker's users write it: the last port is the container's. @throws invalid_argument. */
export function publishedPort(text: string) {
  const found = /^(?:(?:(\[[0-9A-Fa-f:.]+\]|\d+(?:\.\d+){3}):)?(\d*):)?(\d+)(?:\/tcp)?$/.exec(text);
  if (found !== null) {
    const [, address, host, container] = found;
    return {
      ...(address === undefined ? {} : { address: address.replace(/^\[(.*)\]$/, "$1") }),
      hostPort: Number(host ?? 0),
      containerPort: Number(container),
    };
  }
  const udp = /\/(?:udp|sctp)$/.test(text) ? ": only TCP can be published" : "";
  throw new Failure("invalid_argument", `--publish is ${JSON.stringify(text)}, wanted [address:][port:]port${udp}`);
}

/** As `ps` shows it: `127.0.0.1:8080->80/tcp`. */
export function showPort(
  port: { readonly address: string; readonly hostPort: number; readonly containerPort: number },
): string {
  const address = port.address.includes(":") ? `[${port.address}]` : port.address;
  return `${address}:${port.hostPort}->${port.containerPort}/tcp`;
}
