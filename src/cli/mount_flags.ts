import { resolve } from "node:path";
import { Failure } from "../core/errors.ts";
import { leastTmpfsBytes } from "../core/container_mount.ts";
import { type Flag, type FlagValues, texts } from "./command.ts";
import { byteCount } from "./flags.ts";

/** What is mounted into a container, in Docker's words. */
export const mountFlags: Readonly<Record<string, Flag>> = {
  volume: {
    type: "string",
    short: "v",
    multiple: true,
    value: "source:target[:ro]",
    help: "a file or folder of the daemon's machine in it; may be given often",
  },
  mount: {
    type: "string",
    multiple: true,
    value: "type=bind|tmpfs|image,…",
    help:
      "in full: source=, target=, readonly, bind-propagation=; in memory: size=, mode=; an image's files: source=, subpath=",
  },
  tmpfs: { type: "string", multiple: true, value: "target[:size=64m]", help: "a filesystem in memory in it" },
};

interface Mount {
  readonly type: "bind" | "tmpfs" | "image";
  readonly target: string;
  readonly [field: string]: unknown;
}

/** What the flags say, for the daemon to parse. @throws invalid_argument. */
export function mounts(flags: FlagValues): readonly Mount[] | undefined {
  const all = [
    ...texts(flags, "volume").map(volume),
    ...texts(flags, "mount").map(mount),
    ...texts(flags, "tmpfs").map(tmpfs),
  ];
  return all.length === 0 ? undefined : all;
}

function volume(text: string): Mount {
  const parts = text.split(":");
  const [source = "", target = "", options = ""] = parts;
  if (parts.length < 2 || parts.length > 3 || source === "") throw wrong("volume", text, "source:target[:ro]");
  if (!/^[./]/.test(source)) {
    throw wrong("volume", text, "a source that begins with / or . (there are no named volumes)");
  }
  const mount: Record<string, unknown> = {};
  for (const word of options === "" ? [] : options.split(",")) {
    if (word === "ro") mount["readonly"] = true;
    else if (/^r?(?:private|slave|shared)$/.test(word)) mount["propagation"] = word;
    else if (word !== "rw") throw wrong("volume", text, "ro, rw or a propagation (rslave, …) behind the target");
  }
  return { type: "bind", source: resolve(source), target, ...mount };
}

function mount(text: string): Mount {
  const fields = new Map(
    text.split(",").map((field) => {
      const at = field.indexOf("=");
      return at < 0 ? [field, "true"] as const : [field.slice(0, at), field.slice(at + 1)] as const;
    }),
  );
  const take = (...names: readonly string[]) => {
    const name = names.find((name) => fields.has(name));
    const value = name === undefined ? undefined : fields.get(name);
    for (const name of names) fields.delete(name);
    return value;
  };
  const type = take("type") ?? "bind";
  const target = take("target", "destination", "dst") ?? "";
  const source = take("source", "src");
  const found: Mount = type === "tmpfs"
    ? { type, target, ...tmpfsSettings("mount", take("size", "tmpfs-size"), take("mode", "tmpfs-mode"), text) }
    : type === "image"
    // It is read-only, whatever is said.
    ? (take("readonly", "ro"), {
      type,
      target,
      source: source ?? "",
      subpath: take("subpath", "image-subpath", "volume-subpath"),
    })
    : {
      type: "bind",
      target,
      source: source === undefined ? "" : resolve(source),
      readonly: ["true", "1"].includes(take("readonly", "ro") ?? "false"),
      propagation: take("bind-propagation"),
    };
  const [unknown] = fields.keys();
  if (type === "tmpfs" && source !== undefined) throw wrong("mount", text, "no source: memory comes from nowhere");
  if (!["bind", "tmpfs", "image"].includes(type)) throw wrong("mount", text, "type=bind, type=tmpfs or type=image");
  if (unknown !== undefined) throw wrong("mount", text, `nothing called ${JSON.stringify(unknown)}`);
  return found;
}

function tmpfs(text: string): Mount {
  const [target = "", options = ""] = text.split(":");
  const fields = Object.fromEntries(options === "" ? [] : options.split(",").map((field) => field.split("=")));
  const { size, mode, ...others } = fields as Record<string, string | undefined>;
  if (Object.keys(others).length > 0) throw wrong("tmpfs", text, "target[:size=64m][,mode=1777]");
  return { type: "tmpfs", target, ...tmpfsSettings("tmpfs", size, mode, text) };
}

function tmpfsSettings(flag: string, size: string | undefined, mode: string | undefined, text: string) {
  if (mode !== undefined && !/^[0-7]{1,4}$/.test(mode)) throw wrong(flag, text, "a mode in octal, as 1777");
  const sizeBytes = byteCount(flag, size);
  if (sizeBytes !== undefined && sizeBytes < leastTmpfsBytes) {
    throw wrong(flag, text, `a size of ${leastTmpfsBytes} bytes or more, a page; without one it is half of the memory`);
  }
  return { sizeBytes, mode: mode === undefined ? undefined : parseInt(mode, 8) };
}

function wrong(flag: string, text: string, wanted: string): Failure {
  return new Failure("invalid_argument", `--${flag} is ${JSON.stringify(text)}, wanted ${wanted}`);
}
