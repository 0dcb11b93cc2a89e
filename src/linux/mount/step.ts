import type { Argument, Operation } from "../program.ts";

/** Quotes a path or name for a step's description. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** A step that mounts. @see https://man7.org/linux/man-pages/man2/mount.2.html */
export function mount(
  source: string | Argument,
  target: string,
  options: { readonly type?: string; readonly flags?: number; readonly data?: string; readonly why: string },
): Operation {
  return {
    syscall: "mount",
    args: [source, target, options.type ?? 0, options.flags ?? 0, options.data === undefined ? 0 : options.data],
    why: options.why,
  };
}
