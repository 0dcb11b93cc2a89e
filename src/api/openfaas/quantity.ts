import * as v from "valibot";

const units: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  // As Docker's users write them, who mean these.
  m: 2 ** 20,
  g: 2 ** 30,
};

/** `128Mi` → 134217728 bytes, as Kubernetes writes quantities; nothing is no limit of the caller's. */
export const MemorySchema = v.pipe(
  v.string(),
  v.regex(/^(?:\d+(?:\.\d+)?(?:[kKMGT]i?|[mg])?)?$/, "an amount of memory, as 128Mi"),
  v.transform((text) => {
    if (text === "") return undefined;
    const [, number = "", unit = ""] = /^([\d.]+)(\D*)$/.exec(text) ?? [];
    return Math.round(Number(number) * (units[unit] ?? 1));
  }),
);

/** `100m` → 0.1 processors; nothing is no limit of the caller's. */
export const CpuSchema = v.pipe(
  v.string(),
  v.regex(/^(?:\d+(?:\.\d+)?m?)?$/, "a number of processors, as 100m or 0.5"),
  v.transform((text) => {
    if (text === "") return undefined;
    return text.endsWith("m") ? Number(text.slice(0, -1)) / 1000 : Number(text);
  }),
);

const goUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3600_000 };

/** `1m30s` → 90000 milliseconds, as Go writes durations; a number alone counts seconds. Undefined for anything else. */
export function goDuration(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  if (!/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text)) return undefined;
  return Math.round(
    [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)].reduce(
      (sum, [, number, unit = ""]) => sum + Number(number) * (goUnits[unit] ?? 0),
      0,
    ),
  );
}
