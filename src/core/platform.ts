import type { Descriptor, Platform } from "./descriptor.ts";
import { Failure } from "./errors.ts";

const word = /^[a-z0-9][a-z0-9_.-]{0,63}$/;

/** Other names of the architectures, and the variant that the name implies. */
const aliases: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ["amd64"],
  "x86-64": ["amd64"],
  x64: ["amd64"],
  i386: ["386"],
  i486: ["386"],
  i586: ["386"],
  i686: ["386"],
  aarch64: ["arm64"],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};

/** The variant that is meant where none is written. */
const impliedVariant: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };

/**
 * Parses `os/architecture/variant`; a single word is an architecture of linux.
 * @param text for example `linux/arm64/v8`, `linux/amd64`, `arm64`.
 * @returns the platform in normal form.
 * @throws invalid_argument.
 */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split("/");
  const [os, architecture, variant] = parts.length === 1 ? ["linux", ...parts] : parts;
  if (parts.length > 3 || !parts.every((part) => word.test(part)) || os === undefined || architecture === undefined) {
    throw new Failure(
      "invalid_argument",
      `cannot parse platform ${JSON.stringify(text.slice(0, 140))}: want os/architecture or os/architecture/variant, ` +
        `as linux/amd64 or linux/arm/v7`,
    );
  }
  return normalizePlatform({ os, architecture, ...(variant === undefined ? {} : { variant }) });
}

/** Writes a platform as `parsePlatform` reads it. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined || variant === "" ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** The platform of this machine. @param arch the processor in Node's words, as `Host.arch` gives it. */
export function defaultPlatform(arch: "x64" | "arm64"): Platform {
  return { os: "linux", architecture: arch === "x64" ? "amd64" : "arm64" };
}

/** Brings a platform into normal form: lower case, one name for each architecture, no variant where it is the usual one. */
function normalizePlatform(platform: Platform): Platform {
  const named = platform.architecture.toLowerCase();
  const [architecture, implied] = aliases[named] ?? [named];
  const written = platform.variant?.toLowerCase() || implied;
  const variant = written !== undefined && /^[0-9]/.test(written) ? `v${written}` : written;
  const { variant: _, ...rest } = platform;
  const normal = { ...rest, os: platform.os.toLowerCase(), architecture };
  // 32-bit arm has no usual variant: v7 is written out.
  if (architecture === "arm") return { ...normal, variant: variant ?? "v7" };
  return variant === undefined || variant === impliedVariant[architecture] ? normal : { ...normal, variant };
}

/**
 * Tells how well a machine of one platform runs what was built for another.
 * @returns 0 for the same platform, more for each step down (arm/v7 on arm/v8, 386 on amd64); undefined where it cannot.
 */
export function matchPlatform(machine: Platform, image: Platform): number | undefined {
  const wanted = formatPlatform(normalizePlatform(image));
  const rank = runnable(normalizePlatform(machine)).findIndex((platform) => formatPlatform(platform) === wanted);
  return rank < 0 ? undefined : rank;
}

/**
 * Chooses what suits a machine best from the manifests of an index. Attestations (platform `unknown/unknown`) are passed
 * over; a manifest that states no platform is taken where nothing else fits.
 * @throws not_found, naming the platforms that are there.
 */
export function choosePlatform(manifests: readonly Descriptor[], machine: Platform): Descriptor {
  let best: Descriptor | undefined;
  let bestRank = Infinity;
  for (const manifest of manifests) {
    const rank = manifest.platform === undefined
      ? Number.MAX_SAFE_INTEGER
      : matchPlatform(machine, manifest.platform) ?? Infinity;
    if (rank < bestRank) [best, bestRank] = [manifest, rank];
  }
  if (best !== undefined) return best;
  const there = manifests
    .flatMap(({ platform }) => platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)]);
  throw new Failure(
    "not_found",
    `cannot find an image for ${formatPlatform(machine)}: the index has ${
      there.length === 0 ? "no image" : [...new Set(there)].slice(0, 20).join(", ")
    }`,
    { details: { platforms: there.slice(0, 100) } },
  );
}

/** Everything that a machine runs, the best first. */
function runnable(machine: Platform): Platform[] {
  const { os, architecture } = machine;
  const variant = machine.variant ?? impliedVariant[architecture];
  const steps = (below: string, newest: number, oldest: number): Platform[] => {
    const variants = Array.from({ length: Math.max(newest - oldest + 1, 0) }, (_, step) => `v${newest - step}`);
    return variants.map((variant) => normalizePlatform({ os, architecture: below, variant }));
  };
  const version = /^v([0-9])$/.exec(variant ?? "")?.[1];
  if (version !== undefined && architecture === "amd64") {
    return [...steps("amd64", Number(version), 1), { os, architecture: "386" }];
  }
  if (version !== undefined && architecture === "arm64") {
    return [...steps("arm64", Number(version), 8), ...steps("arm", 8, 5)];
  }
  if (version !== undefined && architecture === "arm") return steps("arm", Number(version), 5);
  return [machine];
}
