import { codeOf, Failure, messageOf } from "./errors.ts";

/** What stands between a guest's objects and this program. */
export interface GuestOptions {
  /** What its failures are told of: `plugin "snapshotter/zfs" of "/opt/zfs/mod.ts"`. */
  readonly who: string;
  /** Told of each call that failed without a code of this program's. */
  readonly onDefect: (failure: Failure) => void;
}

/**
 * Shows an object of a guest, and whatever its calls give in turn, so that no call throws anything but what has a code: an
 * error without one comes out as `internal`, with the guest's name and the call's.
 *
 * Methods run on the guest's own object, private fields and all; arguments that came from it go back as they were. Data,
 * streams and errors pass as they are.
 */
export function guestObject<T extends object>(object: T, options: GuestOptions): T {
  return new Guest(options).object(object) as T;
}

class Guest {
  readonly #options: GuestOptions;
  readonly #shown = new WeakMap<object, object>();
  readonly #behind = new WeakMap<object, object>();

  constructor(options: GuestOptions) {
    this.#options = options;
  }

  object(target: object): object {
    const known = this.#shown.get(target);
    if (known !== undefined) return known;
    // Not the target itself: what is frozen there could not be shown in another form.
    const shown = new Proxy({}, {
      get: (_, name) => this.#read(target, name),
      set: (_, name, value) => Reflect.set(target, name, this.#inward(value), target),
      has: (_, name) => Reflect.has(target, name),
      getPrototypeOf: () => Reflect.getPrototypeOf(target),
      ownKeys: () => Reflect.ownKeys(target),
      getOwnPropertyDescriptor: (_, name) => {
        if (!Object.hasOwn(target, name)) return undefined;
        const enumerable = Reflect.getOwnPropertyDescriptor(target, name)?.enumerable ?? false;
        return { value: this.#read(target, name), enumerable, configurable: true, writable: true };
      },
    });
    this.#shown.set(target, shown);
    this.#behind.set(shown, target);
    return shown;
  }

  #read(target: object, name: string | symbol): unknown {
    let value: unknown;
    try {
      value = Reflect.get(target, name, target);
    } catch (error) {
      throw this.#failure(error, String(name));
    }
    return typeof value === "function" ? this.#method(target, value as Callable, String(name)) : this.#outward(value);
  }

  #method(target: object, method: Callable, name: string): Callable {
    const known = this.#shown.get(method);
    if (known !== undefined) return known as Callable;
    const shown: Callable = (...args) => {
      try {
        const result = method.apply(target, args.map((arg) => this.#inward(arg)));
        if (!isPromiseLike(result)) return this.#outward(result);
        return Promise.resolve(result).then((value) => this.#outward(value), (error) => {
          throw this.#failure(error, name);
        });
      } catch (error) {
        throw this.#failure(error, name);
      }
    };
    this.#shown.set(method, shown);
    return shown;
  }

  #outward(value: unknown): unknown {
    if (Array.isArray(value)) {
      const items = value.map((item) => this.#outward(item));
      return items.every((item, index) => item === value[index]) ? value : items;
    }
    return isActor(value) ? this.object(value) : value;
  }

  #inward(value: unknown): unknown {
    return typeof value === "object" && value !== null ? this.#behind.get(value) ?? value : value;
  }

  #failure(error: unknown, call: string): unknown {
    if (codeOf(error) !== "internal") return error;
    const { who, onDefect } = this.#options;
    const failure = new Failure("internal", `${who} failed in ${call}(): ${messageOf(error)}`, { cause: error });
    onDefect(failure);
    return failure;
  }
}

type Callable = (...args: unknown[]) => unknown;

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

const builtIn = [
  ReadableStream,
  WritableStream,
  TransformStream,
  AbortSignal,
  ArrayBuffer,
  Date,
  Error,
  Map,
  Promise,
  RegExp,
  Set,
  URL,
  Uint8Array,
];

/** Whether calls on a value run a guest's code: it has a class of its own, or functions in it. */
function isActor(value: unknown): value is object {
  if (typeof value !== "object" || value === null || builtIn.some((known) => value instanceof known)) return false;
  const prototype = Reflect.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return true;
  return Object.values(Object.getOwnPropertyDescriptors(value)).some(({ value, get }) =>
    typeof value === "function" || get !== undefined
  );
}
