/* Says what keeps containers from users of their own. */
import { whyNoOwnUsers } from "../../runtimes/native/id_mapping.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";

console.log(await whyNoOwnUsers(new Kernel(await currentHost()), "/tmp"));
