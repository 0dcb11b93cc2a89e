import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { Operation } from "../../src/linux/program.ts";
import type { Namespaces } from "./namespaces.ts";

/** The kernel's limit for either name, in bytes. */
const longest = 64;

/** @throws invalid_argument where a name is asked for that the container has no namespace for, or that is too long. */
export function checkHostName(spec: Spec, { made }: Namespaces): void {
  for (const field of ["hostname", "domainname"] as const) {
    const name = spec[field] ?? "";
    if (name === "") continue;
    if (!made.has("uts")) {
      throw new Failure(
        "invalid_argument",
        `cannot set ${field}: it needs a new uts namespace, or it would be the host's`,
        {
          details: { field },
        },
      );
    }
    const { length } = new TextEncoder().encode(name);
    if (length > longest) {
      throw new Failure("invalid_argument", `cannot set ${field}: ${length} bytes are more than ${longest}`, {
        details: { field },
      });
    }
  }
}

/** Sets the names in the container's uts namespace. */
export function* setHostName(spec: Spec): Generator<Operation> {
  for (const [field, syscall] of [["hostname", "sethostname"], ["domainname", "setdomainname"]] as const) {
    const name = spec[field] ?? "";
    if (name === "") continue;
    const bytes = new TextEncoder().encode(name);
    yield { syscall, args: [bytes, bytes.length], why: `set ${field}` };
  }
}
