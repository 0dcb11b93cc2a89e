import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../../src/core/errors.ts";
import { Children } from "../../src/linux/children.ts";
import { errno } from "../../src/linux/errno.ts";
import * as f from "../../src/linux/flags.ts";
import type { Kernel } from "../../src/linux/kernel.ts";
import { Stages } from "../../src/linux/stages.ts";
import { UserNamespaces } from "../../src/linux/user_namespaces.ts";
import { writeMaps } from "./user_namespace.ts";

const map = [{ containerID: 0, hostID: 65_536, size: 65_536 }];

/**
 * Tries what a container with users of its own needs: a user namespace, and a mount that maps ids to it.
 * @param folder where images are kept; it need not exist yet.
 * @returns why it cannot be had, with the cure; undefined where it can.
 * @see https://man7.org/linux/man-pages/man2/mount_setattr.2.html
 */
export async function whyNoOwnUsers(kernel: Kernel, folder: string): Promise<string | undefined> {
  const children = new Children(kernel);
  using stages = new Stages(kernel, children);
  using users = new UserNamespaces(stages);
  try {
    using held = await users.hold("probe", (kernel, pid) => writeMaps(kernel, pid, { uids: map, gids: map }));
    return whyNoMappedMount(kernel, nearest(folder), held.fd);
  } catch (error) {
    return `${messageOf(error)}: raise user.max_user_namespaces, or use a kernel with CONFIG_USER_NS`;
  } finally {
    children.close();
  }
}

function whyNoMappedMount(kernel: Kernel, folder: string, userNamespace: number): string | undefined {
  const tree = kernel.call("open_tree", f.AT_FDCWD, folder, f.OPEN_TREE_CLONE | f.OPEN_TREE_CLOEXEC);
  try {
    const change = [f.MOUNT_ATTR_IDMAP, 0, f.MS_PRIVATE, userNamespace];
    const result = kernel.attempt("mount_setattr", tree, "", f.AT_EMPTY_PATH, change, 32);
    if (result >= 0) return undefined;
    const cure = result === -errno.EINVAL ? ": choose a --root on ext4, xfs or btrfs" : "";
    return `ids cannot be mapped on the filesystem of ${JSON.stringify(folder)} (errno ${-result})${cure}`;
  } finally {
    kernel.attempt("close", tree);
  }
}

function nearest(folder: string): string {
  return existsSync(folder) || folder === "/" ? folder : nearest(dirname(folder));
}
