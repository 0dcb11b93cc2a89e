import * as v from "valibot";

/** Names of secrets: each becomes a file of that name in containers. */
export const SecretNameSchema = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    "1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
  ),
);

/** The names of a function's secrets. */
export const SecretNamesSchema = v.pipe(
  v.array(SecretNameSchema),
  v.maxLength(64, "64 secrets at most"),
  v.check((names) => new Set(names).size === names.length, "each secret once"),
);

/** The most that a secret may have. */
export const maxSecretBytes = 500_000;
/** How many a namespace may have. */
export const maxSecrets = 1000;

/** What may be seen of a secret. Its value never comes out again but as a file of a container. */
export interface SecretInfo {
  readonly namespace: string;
  readonly name: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Where secrets are kept, encrypted. */
export interface SecretStore {
  list(namespace: string): Promise<readonly SecretInfo[]>;
  /** @throws failed_precondition for one that another key has sealed. @returns undefined where there is none. */
  open(namespace: string, name: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** @returns undefined where there is one already. */
  create(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo | undefined>;
  /** Gives one that is there another value. @returns undefined where there is none. */
  update(namespace: string, name: string, value: Uint8Array<ArrayBuffer>): Promise<SecretInfo | undefined>;
  /** @returns whether it was there. */
  delete(namespace: string, name: string): Promise<boolean>;
}
