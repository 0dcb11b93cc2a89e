/* One command of an OCI command line: `native_command.ts <create | start | exec> <container> <options>`, both JSON. */
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { NativeDetached } from "../../runtimes/native/detached.ts";
import type { DetachedContainer, DetachedOptions } from "../../src/core/detached.ts";
import type { SpecProcess } from "../../src/core/spec.ts";
import { codeOf, messageOf } from "../../src/core/errors.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Cgroups, detectLayout } from "../../src/linux/cgroup/mod.ts";
import { Children } from "../../src/linux/children.ts";
import { Kernel } from "../../src/linux/kernel.ts";

const [command, containerText = "", optionsText = "{}"] = process.argv.slice(2);
const container: DetachedContainer = JSON.parse(containerText);
const options: DetachedOptions & { readonly pid: number; readonly process: SpecProcess; readonly wait?: boolean } = JSON
  .parse(optionsText);
const kernel = new Kernel(await currentHost());
const folder = `${container.folder}/../.rootfs`;
mkdirSync(folder, { recursive: true });
const runtime = new NativeDetached({
  kernel,
  children: new Children(kernel),
  cgroups: new Cgroups(kernel, detectLayout(kernel)),
  folder,
});
/** Not on a standard stream: those are the container's. */
const answer = (value: unknown) => writeFileSync(process.env["ANSWER"] ?? "", JSON.stringify(value));
try {
  if (command === "start") {
    await runtime.start(container);
    answer({});
  } else {
    const made = command === "create"
      ? await runtime.create(container, options)
      : await runtime.exec(container, options);
    answer(options.wait === true ? { pid: made.pid, ...await made.wait() } : { pid: made.pid });
  }
} catch (error) {
  answer({ code: codeOf(error), message: messageOf(error) });
}
process.exit(0);
