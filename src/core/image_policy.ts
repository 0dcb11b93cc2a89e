import * as v from "valibot";
import { NameSchema } from "./function.ts";
import type { ImageReference } from "./reference.ts";

const prefixForm = "a registry, with the beginning of a repository or without: ghcr.io/acme";
const prefix = v.pipe(
  v.string(),
  v.maxLength(255),
  v.regex(/^(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?(?:\/[a-z0-9._-]+)*$/, prefixForm),
);

const which = {
  /** A registry, or whole parts of a path in it: `ghcr.io/acme` is for `ghcr.io/acme/app`, not for `ghcr.io/acmes`. */
  images: v.optional(prefix),
  namespace: v.optional(NameSchema),
};

/** For which images, and what of them. */
export const ImageRuleSchema = v.variant("policy", [
  v.strictObject({ ...which, policy: v.picklist(["accept", "reject"]) }),
  v.strictObject({
    ...which,
    policy: v.literal("require"),
    /** Files of public keys in PEM: a signature by one of them is enough. */
    keys: v.pipe(
      v.array(v.pipe(v.string(), v.startsWith("/", "an absolute path"))),
      v.minLength(1, "a key at least"),
      v.maxLength(16, "16 keys at most"),
    ),
    /** What `images` was called where it was signed, for images that have been copied. Default: the same. */
    signedAs: v.optional(prefix),
  }),
]);
export type ImageRule = v.InferOutput<typeof ImageRuleSchema>;

/** The rule for an image: the first that fits. Undefined, which is to accept, where none does. */
export function ruleFor<Rule extends Pick<ImageRule, "images" | "namespace">>(
  rules: readonly Rule[],
  namespace: string,
  reference: ImageReference,
): Rule | undefined {
  const name = nameOf(reference);
  return rules.find((rule) =>
    (rule.namespace ?? namespace) === namespace &&
    (rule.images === undefined || name === rule.images || name.startsWith(`${rule.images}/`))
  );
}

/** `ghcr.io/acme/app`: an image's name without tag or digest. */
export function nameOf({ registry, repository }: ImageReference): string {
  return `${registry}/${repository}`;
}
