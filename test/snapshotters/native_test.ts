import { native } from "../../snapshotters/native/mod.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

snapshotterContract("native", opener(native));
