import { Failure } from "./errors.ts";

const form = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/** Whether a text has the form of a container's id: 1 to 128 of `[A-Za-z0-9_.-]`, beginning with a letter or digit. */
export function isContainerId(id: string): boolean {
  return form.test(id);
}

/** @param what is named so, in the message. @throws invalid_argument. */
export function checkContainerId(id: string, what = "container"): void {
  if (isContainerId(id)) return;
  throw new Failure(
    "invalid_argument",
    `cannot create ${what} ${
      JSON.stringify(id.slice(0, 140))
    }: want an id of 1 to 128 of A-Z a-z 0-9 _ . -, beginning with a letter or digit`,
  );
}
