/** In what a runtime differs from the contract, and why. */
interface Difference {
  readonly kinds: readonly string[];
  /** `<subject>: <title>`. */
  readonly tests: readonly string[];
  readonly reason: string;
}

const references = ["crun", "runc"];

/** All that is known. Each of these tests has to fail on those runtimes, so that the table stays true. */
const differences: readonly Difference[] = [
  {
    kinds: references,
    tests: ["process: has its arguments and environment, and no other"],
    reason: "adds HOME where the environment has none",
  },
  {
    kinds: references,
    tests: ["filesystem: has the kernel's filesystems with their options"],
    reason: "leaves the tmpfs over the hierarchies of cgroup v1 writable",
  },
  {
    kinds: references,
    tests: [
      "commands: start() tells of one that has no interpreter",
      "commands: start() tells of one that is no program",
    ],
    reason: "answers `start` before it executes: what goes wrong then is the container's exit status",
  },
  {
    kinds: ["runc"],
    tests: ["commands: start() tells of one that is not executable in PATH"],
    reason: "looks for what is executable alone, and says that there is nothing",
  },
  {
    kinds: ["crun"],
    tests: ["refusals: create() names CAP_NONE"],
    reason: "leaves out capabilities that it does not know, and does not say which it knows (1.8)",
  },
  {
    kinds: references,
    tests: ["refusals: create() names mount"],
    reason: "crun takes a container without a mount namespace of its own, runc calls it MNT",
  },
  {
    kinds: ["runc"],
    tests: ["filesystem: keeps a hostile image's links inside"],
    reason: "makes the links of /dev (fd, stdin, …) through a link that the image has in its place, on the host (1.1)",
  },
  {
    kinds: ["runc"],
    tests: ["refusals: create() names RLIMIT_CORE"],
    reason: "tells a limit by its number",
  },
  {
    kinds: ["runc"],
    tests: ["executing: has its own umask"],
    reason: "executes with the umask of init (1.1)",
  },
  {
    kinds: references,
    tests: ["executing: has its own OOM score"],
    reason: "executes with the score of init",
  },
  {
    kinds: ["runc"],
    tests: ["updating: lets it have a device more, and no other"],
    reason: "passes over device rules in an update, which is refused by name therefore",
  },
  {
    kinds: references,
    tests: ["hooks: are told of a state that is true"],
    reason: "crun (1.8) tells createContainer of no process, runc (1.1) tells poststart of a created container",
  },
  {
    kinds: references,
    tests: ["hooks: keep a container from being, where one fails: startContainer"],
    reason: "runs it behind the answer of `start`: its failure is the container's exit status",
  },
];

/** Why a runtime differs in a test; undefined where it does not. */
export function differenceOf(kind: string, test: string): string | undefined {
  return differences.find(({ kinds, tests }) => kinds.includes(kind) && tests.includes(test))?.reason;
}
