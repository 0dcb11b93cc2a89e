import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, it } from "node:test";
import { whyNoOwnUsers } from "../../runtimes/native/id_mapping.ts";
import { currentHost } from "../../src/host/mod.ts";
import { Kernel } from "../../src/linux/kernel.ts";
import { sameHost } from "../support/same_host.ts";

const kernel = new Kernel(await currentHost());
const skip = kernel.call("geteuid") === 0 ? false : "only root maps ids of others";

describe("whyNoOwnUsers()", { skip }, () => {
  it("finds nothing where both can be had, in a folder that is not there yet too", async () => {
    assert.equal(await whyNoOwnUsers(kernel, "/var/lib/there/is/none"), undefined);
  });

  it("names a filesystem that maps no ids", async () => {
    assert.match(await whyNoOwnUsers(kernel, "/proc/sys") ?? "", /cannot be mapped on the filesystem of "\/proc\/sys"/);
  });

  it("names the limit of user namespaces", async () => {
    const main = await sameHost(new URL("own_users.ts", import.meta.url).pathname);
    // The limit is that of the user namespace that it is set in.
    const script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"';
    const said = execFileSync("unshare", ["--user", "--map-root-user", "sh", "-c", script, "sh", ...main], {
      encoding: "utf8",
    });
    assert.match(said, /^make a user namespace: no space left on device: raise user\.max_user_namespaces/);
  });
});
