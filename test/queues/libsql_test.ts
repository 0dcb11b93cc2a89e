import { queue } from "../../src/metadata/mod.ts";
import { queueContract } from "../contract/queue.ts";
import { opener } from "./open.ts";

queueContract("libsql", opener(queue));
