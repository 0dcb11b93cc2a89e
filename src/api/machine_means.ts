import * as v from "valibot";
import { type Caller, everywhere, may } from "../core/access.ts";
import { ContainerInputSchema } from "../core/container.ts";
import { Failure } from "../core/errors.ts";
import { parse } from "../core/parse.ts";

/** What is asked of every container, a function's too but for ports. */
const { mounts, network, egress, ports, restore } = ContainerInputSchema.entries;
const MeansSchema = v.object({ mounts, network, egress, ports, restore });

/** What has nothing of the machine but what every container has. */
const ownMounts: ReadonlySet<string> = new Set(["tmpfs", "image"]);
const ownNetworks: ReadonlySet<string> = new Set(["none", "bridge"]);

/**
 * Refuses settings of a container that reach the machine beneath it, to who may not do everything: its files would be
 * theirs.
 * @param settings as they came.
 * @throws permission_denied; invalid_argument.
 */
export function requireMeans(caller: Caller, settings: unknown, action: string): void {
  if (may(caller, "admin", everywhere)) return;
  const { mounts, network, egress, ports, restore } = parse(MeansSchema, settings, `cannot ${action}`);
  const foreign = mounts.find(({ type }) => !ownMounts.has(type));
  const what = foreign !== undefined
    ? `a mount of type ${foreign.type}`
    : !ownNetworks.has(network)
    ? `network ${JSON.stringify(network)}`
    : egress
    // Whatever else is in the machine's networks would be within reach.
    ? "egress"
    : ports.length > 0
    ? "published ports"
    : restore
    ? "restore"
    : undefined;
  if (what === undefined) return;
  throw new Failure(
    "permission_denied",
    `cannot ${action} with ${what}: it reaches the machine, for which ${caller.name} has no right, ` +
      `wanted admin in all namespaces: mayfly token create <name> --scope admin --namespace '*'`,
  );
}
