/** What every snapshotter has to do: `node examples/plugin/reflink_test.ts`, as root. */
import { opener } from "mayfly/contract/open_snapshotter";
import { snapshotterContract } from "mayfly/contract/snapshotter";
import { reflink } from "./reflink.ts";

snapshotterContract("reflink", opener(reflink, new URL("reflink.ts", import.meta.url)));
