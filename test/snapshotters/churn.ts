/** Works with a snapshotter until it is killed: `churn.ts <snapshotter> <root> [module]`. */
import process from "node:process";
import { btrfs } from "../../snapshotters/btrfs/mod.ts";
import { erofs } from "../../snapshotters/erofs/mod.ts";
import { native } from "../../snapshotters/native/mod.ts";
import { overlay } from "../../snapshotters/overlay/mod.ts";
import type { Plugin } from "../../src/core/plugin.ts";
import type { Snapshotter } from "../../src/core/snapshotter.ts";
import { churn } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

const [id = "", root = "", module] = process.argv.slice(2);
const given: Readonly<Record<string, Plugin<Snapshotter>>> = module === undefined
  ? { btrfs, erofs, native, overlay }
  : await import(module);
const plugin = Object.values(given).find((plugin) => plugin.id === id);
if (plugin === undefined) throw new Error(`no snapshotter ${id}`);
const { snapshotter } = await opener(plugin).open(root);
await churn(snapshotter, (line) => console.log(line));
