/** Works with a snapshotter until it is killed: `churn.ts <snapshotter> <root>`. */
import process from "node:process";
import { native } from "../../snapshotters/native/mod.ts";
import { overlay } from "../../snapshotters/overlay/mod.ts";
import { churn } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

const [id = "", root = ""] = process.argv.slice(2);
const plugin = [native, overlay].find((plugin) => plugin.id === id);
if (plugin === undefined) throw new Error(`no snapshotter ${id}`);
const { snapshotter } = await opener(plugin).open(root);
await churn(snapshotter, (line) => console.log(line));
