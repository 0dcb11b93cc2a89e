/* Publishes to a queue without end: `node test/queues/publish_on.ts <plugin> <root> [module]`. */
import { writeSync } from "node:fs";
import process from "node:process";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Queue } from "../../src/core/queue.ts";
import { queue } from "../../src/metadata/mod.ts";
import { publishOn } from "../contract/queue.ts";
import { opener } from "./open.ts";

const [id, root = "", module] = process.argv.slice(2);
const exported: readonly unknown[] = module === undefined ? [queue] : Object.values(await import(module));
const plugin = exported.find((one): one is Plugin<Queue> => (one as Partial<Plugin>).id === id);
if (plugin === undefined) throw new Error(`no queue is called ${JSON.stringify(id)}`);
const opened = await opener(plugin).open(root);
await publishOn(opened.queue, (line) => writeSync(1, `${line}\n`));
