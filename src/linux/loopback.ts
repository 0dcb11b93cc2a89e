import * as f from "./flags.ts";
import type { Operation } from "./program.ts";

/** `struct ifreq`: 16 bytes of name, 16 of flags. */
const up = new Uint8Array(40);
up.set([0x6c, 0x6f]); // lo
new DataView(up.buffer).setInt16(16, f.IFF_UP | f.IFF_RUNNING, true);

/** Brings the loopback interface of a new network namespace up; the kernel gives it its addresses. */
export function* raiseLoopback(): Generator<Operation> {
  yield {
    syscall: "socket",
    args: [f.AF_INET, f.SOCK_DGRAM | f.SOCK_CLOEXEC, 0],
    store: "loopback",
    why: "open a socket to set up the loopback interface",
  };
  yield { syscall: "ioctl", args: [{ ref: "loopback" }, f.SIOCSIFFLAGS, up], why: "bring the loopback interface up" };
  yield { syscall: "close", args: [{ ref: "loopback" }], why: "close the socket", onError: "ignore" };
}
