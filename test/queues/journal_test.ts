import { queueContract } from "../contract/queue.ts";
import { journal } from "../support/journal_queue.ts";
import { opener } from "./open.ts";

queueContract("journal", opener(journal, new URL("../support/journal_queue.ts", import.meta.url)));
