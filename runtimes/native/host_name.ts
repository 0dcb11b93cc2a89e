import { Failure } from "../../src/core/errors.ts";
import type { Spec } from "../../src/core/spec.ts";
import type { Operation } from "../../src/linux/program.ts";
import { type Namespaces, sharesHosts } from "./namespaces.ts";

/** The kernel's limit for either name, in bytes. */
const longest = 64;

/** @throws invalid_argument where a name is asked for that the container has no namespace for, or that is too long. */
export function checkHostName(spec: Spec, namespaces: Namespaces): void {
  for (const field of ["hostname", "domainname"] as const) {
    const name = spec[field] ?? "";
    if (name === "") continue;
    if (sharesHosts(namespaces, "uts")) {
      throw new Failure(
        "invalid_argument",
        `cannot set ${field}: it needs a uts namespace that is not the host's`,
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

/** Sets the names in the container's uts namespace: the holes `hostname` and `hostname.length`, and the domain's. */
export function* setHostName(spec: Spec): Generator<Operation> {
  if (spec.hostname) {
    yield { syscall: "sethostname", args: [{ hole: "hostname" }, { hole: "hostname.length" }], why: "set hostname" };
  }
  if (spec.domainname) {
    const bytes = new TextEncoder().encode(spec.domainname);
    yield { syscall: "setdomainname", args: [bytes, bytes.length], why: "set domainname" };
  }
}
