/* A process that runs containers until it is killed: `oci_daemon.ts <program> <folder> <cgroup parent> <count>`. */
import { join } from "node:path";
import process from "node:process";
import { busyboxRootfs, specFor } from "./native_runtime.ts";
import { ociRuntimeOf } from "./oci_runtime.ts";

const [program = "", folder = "", cgroupParent = "", count = "1"] = process.argv.slice(2);
const runtime = await ociRuntimeOf(program, join(folder, "oci"), cgroupParent);
const rootfs = busyboxRootfs(join(folder, "root"));
const tasks = await Promise.all(Array.from({ length: Number(count) }, async (_, index) => {
  const task = await runtime.create({ id: `killed-${index}`, spec: specFor(["sleep", "60"]), rootfs });
  if (index > 0) await task.start();
  return task;
}));
console.log(tasks.map(({ pid }) => pid).join(" "));
await Promise.all(tasks.map((task) => task.wait()));
