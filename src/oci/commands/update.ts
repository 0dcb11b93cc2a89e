import { parse } from "../../core/parse.ts";
import type { SpecResources } from "../../core/spec.ts";
import { ResourcesSchema } from "../../core/spec_resources.ts";
import { text, wholeNumber } from "../arguments.ts";
import { readJson } from "../bundle.ts";
import { type OciCommand, type OciContext, readInput } from "../command.ts";
import { wantStatus } from "../status.ts";

export const update: OciCommand = {
  name: "update",
  summary: "change the limits of a container",
  usage: "update [options] <id>",
  flags: {
    resources: { type: "text", short: "r", help: "file with `linux.resources` as of config.json, or - for stdin" },
    memory: { type: "text", help: "bytes" },
    "memory-reservation": { type: "text", help: "bytes" },
    "memory-swap": { type: "text", help: "bytes of memory and swap together" },
    "cpu-period": { type: "text", help: "microseconds" },
    "cpu-quota": { type: "text", help: "microseconds in each period" },
    "cpu-share": { type: "text", help: "weight beside others" },
    "cpu-rt-period": { type: "text", help: "microseconds" },
    "cpu-rt-runtime": { type: "text", help: "microseconds" },
    "cpu-idle": { type: "text", help: "1 for a container that takes what others leave" },
    "cpuset-cpus": { type: "text", help: "processors, as 0-2,4" },
    "cpuset-mems": { type: "text", help: "memory nodes" },
    "pids-limit": { type: "text", help: "processes" },
    "blkio-weight": { type: "text", help: "weight beside others" },
  },
  words: { min: 1, max: 1 },
  async run(context) {
    const { store, words: [id = ""] } = context;
    const record = store.load(id);
    wantStatus(record, "update", "created", "running", "paused");
    const { cgroups } = await context.machine();
    const resources = resourcesOf(context);
    const { spec, spec: { linux } } = record;
    const devices = linux.resources?.devices ?? [];
    cgroups.update(cgroups.open(record.cgroupPath), resources, devices);
    const more = resources.devices ?? [];
    if (more.length > 0) {
      // The next update goes on from these.
      const changed = { ...linux.resources, devices: [...devices, ...more] };
      store.save({ ...record, spec: { ...spec, linux: { ...linux, resources: changed } } });
    }
    return 0;
  },
};

function resourcesOf(context: OciContext): SpecResources {
  const file = text(context, "resources");
  if (file !== undefined) {
    return parse(ResourcesSchema, readJson(readInput(file), file), `cannot use ${JSON.stringify(file)}`);
  }
  const part = (names: Readonly<Record<string, string | number | undefined>>) => {
    const given = Object.entries(names).filter(([, value]) => value !== undefined);
    return given.length === 0 ? undefined : Object.fromEntries(given);
  };
  const number = (name: string) => wholeNumber(context, name);
  const pids = number("pids-limit");
  return parse(ResourcesSchema, {
    memory: part({
      limit: number("memory"),
      reservation: number("memory-reservation"),
      swap: number("memory-swap"),
    }),
    cpu: part({
      period: number("cpu-period"),
      quota: number("cpu-quota"),
      shares: number("cpu-share"),
      realtimePeriod: number("cpu-rt-period"),
      realtimeRuntime: number("cpu-rt-runtime"),
      idle: number("cpu-idle"),
      cpus: text(context, "cpuset-cpus"),
      mems: text(context, "cpuset-mems"),
    }),
    pids: pids === undefined ? undefined : { limit: pids },
    blockIO: part({ weight: number("blkio-weight") }),
  }, "cannot update the container");
}
