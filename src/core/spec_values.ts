import * as v from "valibot";

/*
 * The plain values that an OCI runtime configuration is made of. JSON made by Go writes `null` for an empty list or map, and
 * numbers of 64 bits, of which a double keeps 53.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/schema/defs.json
 */

const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));

export const uint16 = whole(0, 0xffff);
export const int32 = whole(-0x8000_0000, 0x7fff_ffff);
export const uint32 = whole(0, 0xffff_ffff);
export const int64 = whole(-(2 ** 63), 2 ** 63);
export const uint64 = whole(0, 2 ** 64);

export const text = v.pipe(v.string(), v.check((s) => !s.includes("\0"), "a string without NUL"));
export const absolute = v.pipe(text, v.startsWith("/", "an absolute path"));

export const list = <T extends v.GenericSchema>(item: T) =>
  v.optional(v.pipe(v.nullish(v.array(item), []), v.readonly()));
export const mapOf = <T extends v.GenericSchema>(item: T) =>
  v.optional(v.pipe(v.nullish(v.record(text, item), {}), v.readonly()));
export const map = mapOf(text);
