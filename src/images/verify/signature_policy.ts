import { readFile } from "node:fs/promises";
import type { Distribution, DistributionOptions } from "../../core/distribution.ts";
import { Failure, messageOf } from "../../core/errors.ts";
import { type ImageRule, nameOf, ruleFor } from "../../core/image_policy.ts";
import type { ImageToVerify, ImageVerifier } from "../../core/image_verifier.ts";
import { formatReference, parseReference } from "../../core/reference.ts";
import { printable } from "../../distribution/registry_error.ts";
import { findSignatures, type Signature } from "./cosign.ts";
import { PublicKey } from "./public_key.ts";

type Require = Extract<ImageRule, { policy: "require" }>;

/** How many signatures a refusal tells of. */
const told = 4;

/** Which images may be pulled, by rules: all, none, or those that are signed by one of some keys. */
export class SignaturePolicy implements ImageVerifier {
  readonly #distribution: Distribution;
  readonly #rules: readonly ImageRule[];
  readonly #keys: ReadonlyMap<string, PublicKey>;

  private constructor(distribution: Distribution, rules: readonly ImageRule[], keys: ReadonlyMap<string, PublicKey>) {
    this.#distribution = distribution;
    this.#rules = rules;
    this.#keys = keys;
  }

  /** Reads all keys. @throws failed_precondition for a file that cannot be read; invalid_argument for what is no key. */
  static async open(distribution: Distribution, rules: readonly ImageRule[]): Promise<SignaturePolicy> {
    const keys = new Map<string, PublicKey>();
    for (const path of rules.flatMap((rule) => rule.policy === "require" ? rule.keys : [])) {
      const pem = await readFile(path, "utf8").catch((cause: unknown) => {
        throw new Failure("failed_precondition", `cannot read the key ${JSON.stringify(path)}: ${messageOf(cause)}`, {
          cause,
        });
      });
      keys.set(path, await PublicKey.read(path, pem));
    }
    return new SignaturePolicy(distribution, rules, keys);
  }

  async verify(image: ImageToVerify, options: DistributionOptions): Promise<string> {
    const rule = ruleFor(this.#rules, image.namespace, image.reference);
    if (rule === undefined) return "no rule is for it";
    if (rule.policy === "accept") return `accepted by the rule for ${scopeOf(rule)}`;
    if (rule.policy !== "require") {
      throw refused(image, `is refused by the rule for ${scopeOf(rule)}: name another image, or change "verify"`);
    }
    const { reference, target } = image;
    const { found, malformed } = await findSignatures(this.#distribution, reference, target.digest, options);
    const reasons: string[] = [...malformed];
    for (const signature of found) {
      const signer = await this.#signer(rule, signature);
      const reason = signer === undefined ? "by none of the keys" : this.#wrong(rule, signature, image);
      if (reason === undefined) return `signed by ${signer} (${signature.where})`;
      reasons.push(`${signature.where}: ${reason}`);
    }
    const exact = `${nameOf(reference)}@${target.digest}`;
    const more = reasons.length > told ? `; and ${reasons.length - told} more` : "";
    const was = reasons.length === 0 ? "no signature" : printable(reasons.slice(0, told).join("; ")) + more;
    throw refused(
      image,
      `is not signed as the rule for ${scopeOf(rule)} wants: found ${was}; wanted one by ${rule.keys.join(" or ")}: ` +
        `have it signed: cosign sign --key … ${exact}`,
    );
  }

  /** @returns the file of the key that a signature is by; undefined where it is by none of a rule's. */
  async #signer(rule: Require, { signed, signature }: Signature): Promise<string | undefined> {
    const keys = rule.keys.flatMap((path) => this.#keys.get(path) ?? []);
    const answers = await Promise.all(keys.map((key) => key.verifies(signature, signed)));
    return keys[answers.indexOf(true)]?.name;
  }

  /** @returns why a true signature does not count; undefined where it does. */
  #wrong(rule: Require, { digests, name }: Signature, image: ImageToVerify): string | undefined {
    if (!digests.includes(image.target.digest)) return `of another image, ${digests.join(", ")}`;
    const wanted = signedName(rule, nameOf(image.reference));
    if (name === undefined || nameIn(name) === wanted) return undefined;
    return `of ${JSON.stringify(name)}, wanted ${JSON.stringify(wanted)} (if it is a copy, say "signedAs")`;
  }
}

/** What an image was called where it was signed. */
function signedName({ images = "", signedAs }: Require, name: string): string {
  return signedAs === undefined ? name : signedAs + name.slice(images.length);
}

/** The name in a payload without tag or digest; undefined for what is no name. */
function nameIn(text: string): string | undefined {
  try {
    return nameOf(parseReference(text));
  } catch {
    return undefined;
  }
}

function scopeOf({ images, namespace }: ImageRule): string {
  const scope = images ?? "all images";
  return namespace === undefined ? scope : `${scope} in namespace ${namespace}`;
}

function refused({ reference, target }: ImageToVerify, why: string): Failure {
  return new Failure("permission_denied", `cannot accept ${formatReference(reference)}: ${target.digest} ${why}`, {
    details: { digest: target.digest },
  });
}
