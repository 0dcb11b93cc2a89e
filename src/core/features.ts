import * as v from "valibot";

const names = v.optional(v.nullish(v.array(v.string())));
const enabled = v.nullish(v.looseObject({ enabled: v.nullish(v.boolean()) }));

/**
 * What an OCI runtime says that it can do. What is not named is unknown, not absent; names that came later than this are let
 * through.
 * @see https://github.com/opencontainers/runtime-spec/blob/v1.2.0/features.md
 */
export const FeaturesSchema = v.looseObject({
  ociVersionMin: v.optional(v.string()),
  ociVersionMax: v.optional(v.string()),
  hooks: names,
  mountOptions: names,
  linux: v.nullish(v.looseObject({
    namespaces: names,
    capabilities: names,
    cgroup: v.nullish(v.looseObject({
      v1: v.nullish(v.boolean()),
      v2: v.nullish(v.boolean()),
      systemd: v.nullish(v.boolean()),
      systemdUser: v.nullish(v.boolean()),
      rdma: v.nullish(v.boolean()),
    })),
    seccomp: v.nullish(v.looseObject({
      enabled: v.nullish(v.boolean()),
      actions: names,
      operators: names,
      archs: names,
      knownFlags: names,
      supportedFlags: names,
    })),
    apparmor: enabled,
    selinux: enabled,
    intelRdt: enabled,
    mountExtensions: v.nullish(v.looseObject({ idmap: enabled })),
  })),
  annotations: v.nullish(v.record(v.string(), v.string())),
});
export type Features = v.InferOutput<typeof FeaturesSchema>;
