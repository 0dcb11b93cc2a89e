import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "tar";
import { LayoutFolder } from "./layout_folder.ts";

const applets = "sh cat echo true false sleep tr wc head dd env id ls ps kill mkdir touch rm test seq md5sum nc stat"
  .split(" ");

/** Fills a folder with a small root filesystem around Debian's static busybox. */
export function makeBusyboxRoot(root: string): void {
  for (const folder of ["bin", "etc", "tmp", "root", "proc", "sys", "dev"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  chmodSync(join(root, "bin/busybox"), 0o755);
  chmodSync(join(root, "tmp"), 0o1777);
  for (const applet of applets) symlinkSync("busybox", join(root, "bin", applet));
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nworker:x:1000:\naudio:x:29:worker\n");
}

/**
 * Writes an OCI layout with one busybox image.
 * @param folder an empty folder; `layout` in it becomes the layout.
 * @param config what the image's configuration says beside the defaults.
 * @returns the layout's path.
 */
export function makeBusyboxImage(folder: string, name: string, config: Readonly<Record<string, unknown>> = {}): string {
  const root = join(folder, "rootfs");
  const archive = join(folder, "layer.tar");
  makeBusyboxRoot(root);
  create({ file: archive, cwd: root, portable: true, sync: true }, ["."]);
  const layout = new LayoutFolder(join(folder, "layout"));
  const image = layout.image([readFileSync(archive)], { config: { Env: ["PATH=/bin"], Cmd: ["sh"], ...config } });
  return layout.name({ [name]: image });
}
