import { overlay } from "../../snapshotters/overlay/mod.ts";
import { snapshotterContract } from "../contract/snapshotter.ts";
import { opener } from "./open.ts";

snapshotterContract("overlay", opener(overlay));
