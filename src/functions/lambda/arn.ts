/** Where AWS's clients think functions are, when nobody says. */
export const defaultRegion = "us-east-1";

/** What AWS Lambda would call a function: the account is none. A function of another namespace than `default` is `name.namespace`. */
export function functionArn(
  { namespace, name }: { readonly namespace: string; readonly name: string },
  region: string = defaultRegion,
): string {
  const own = namespace === "default" ? name : `${name}.${namespace}`;
  return `arn:aws:lambda:${region}:000000000000:function:${own}`;
}
