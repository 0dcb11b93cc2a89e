import { SIGKILL } from "../linux/flags.ts";
import type { OciContext } from "./command.ts";
import { isAlive } from "./process_info.ts";
import { signalContainer } from "./signalling.ts";
import type { ContainerRecord } from "./state_store.ts";

/** Kills what still runs of a container and removes everything that it had. */
export async function removeContainer(context: OciContext, record: ContainerRecord): Promise<void> {
  const { store, log } = context;
  const machine = await context.machine();
  const cgroup = machine.cgroups.open(record.cgroupPath);
  if (isAlive(record.pid, record.startTicks)) signalContainer(machine, record, SIGKILL);
  await cgroup.kill();
  await cgroup.remove();
  try {
    await (await context.runtime()).hooks(record, "poststop", record.pid);
  } catch (error) {
    // The container is gone; a hook that fails is told, and no more (runtime.md, "Lifecycle").
    log.warn(`poststop hook of container ${JSON.stringify(record.id)}: ${error}`);
  }
  store.remove(record.id);
}
