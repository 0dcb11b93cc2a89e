/*
 * The memory that the stub and the encoder share. The same on every architecture; offsets are bytes from the start of the
 * structure. The assembly takes these numbers by name.
 */

/** What one call of the stub is given: its only argument is the address of this. */
export const context = {
  /** Address of the first operation. */
  operations: 0,
  /** Address of a `struct clone_args` to run the program in a child; 0 to run it in this thread. */
  clone: 8,
  /** Address of the operation begun last. Written by the stub. */
  current: 16,
  /** The result that ended the program, below zero; 0 when it came to its end. Written by the stub, cleared by the caller. */
  error: 24,
  /** 32 bytes of zero: a `struct sigaction` that means SIG_DFL, and the empty signal set. */
  none: 32,
  /** The full signal set. */
  all: 64,
  /** The caller's signal mask while the child is made. Written by the stub. */
  mask: 72,
  /** The arguments of the current operation after references were followed. Written by the stub. */
  resolved: 80,
  /** Address of a launcher, to have the clone become that thread instead of a child; 0 for a child. */
  launcher: 128,
  /** What clone3 returned to the launcher that made the child. Written by the stub. */
  child: 136,
  /** 32 bits: 1, and a wake-up for who waits for that, when the launcher's child has executed or ended. Written by the stub. */
  done: 144,
  size: 160,
} as const;

/** A thread that makes children, one after another, and sleeps in between. It has neither a stack nor a handler of signals. */
export const launcher = {
  /** 32 bits: 1 where there is something to do; 0 again, by the stub, when it has been done. */
  state: 0,
  /** Address of the context of the child that is to be made; 0 to end the thread. */
  context: 8,
  size: 16,
} as const;

/** One operation. The next one lies directly behind it. */
export const operation = {
  /** 32 bits: the system call's number, or one of `pseudo`. */
  number: 0,
  /** 32 bits, see `flags`. */
  flags: 4,
  /** Six words of 64 bits. */
  args: 8,
  /** Address where the result goes, 64 bits wide; 0 for nowhere. */
  store: 56,
  /** 32 bits each: where to go on, as a signed distance in bytes from this operation. */
  onError: 64,
  onZero: 68,
  onNonZero: 72,
  /** 32 bits: the operation's place in its program. The stub does not read it. */
  index: 76,
  size: 80,
} as const;

/** `onError` distance that ends the program. */
export const fail = 0;

export const flags = {
  /** Shifted left by the argument's number: the argument is the address of 64 bits that hold the value. */
  indirect: 1,
  /** The same for a signed value of 32 bits. */
  indirect32: 1 << 8,
  /** Bits of any indirect argument. */
  anyIndirect: 0x3f3f,
  /** Make the call again after EINTR. */
  retry: 1 << 16,
} as const;

/** Numbers that are no system calls. */
export const pseudo = {
  /** Ends the program. */
  end: -1,
  /** Has its first argument as its result. */
  move: -2,
} as const;

/** `struct clone_args`, as of Linux 5.7. @see https://man7.org/linux/man-pages/man2/clone.2.html */
export const cloneArgs = { flags: 0, pidfd: 8, exitSignal: 32, cgroup: 80, size: 88 } as const;

/**
 * The init stub: a program of its own that runs syscall programs one after another, as it gets them. Addresses are its own.
 */
export const init = {
  /** Where its code is loaded, headers included. */
  text: 0x40_0000,
  /** Its writable memory: the head of a message, then, at `base`, the program's memory, whose first part is a context. */
  memory: 0x1000_0000,
  size: 16 * 1024 * 1024,
  /** From `memory`: how many bytes of program follow the head, and how many of them go back when it has ended. 64 bits each. */
  length: 0,
  reply: 8,
  head: 16,
  base: 64,
  /** The descriptor that it reads programs from and writes answers to. */
  control: 100,
} as const;
