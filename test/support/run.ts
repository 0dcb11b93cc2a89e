/**
 * Runs the test suite on Deno, Bun and Node, one after another: `node test/support/run.ts [hosts…] [files or folders…]`.
 *
 * Each file is a process of its own, since tests use signals, mounts and the process's namespaces. The last line is
 * `N passed, N failed`, summed over the hosts.
 */
import { spawn } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Audit } from "./audit.ts";
import { type Outcome, parseJunit } from "./junit.ts";
import { lacking } from "./requirements.ts";

const commands = {
  node: (file: string, report: string) => [
    "node",
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${report}`,
    file,
  ],
  deno: (file: string, report: string) => ["deno", "test", "-A", "--no-check", `--junit-path=${report}`, file],
  bun: (file: string, report: string) => [
    "bun",
    "test",
    `--timeout=${testLimitMs}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    `./${file}`,
  ],
};
type HostName = keyof typeof commands;

/** How many times the usual time everything may take: a processor may be emulated. */
const patience = Number(process.env["MAYFLY_TEST_PATIENCE"] ?? 1);
/** How long one test may take on Bun, whose own limit is 5 s; the others have none. */
const testLimitMs = 120_000 * patience;
/** How long a file may take. */
const fileLimitMs = Number(process.env["MAYFLY_TEST_FILE_LIMIT_S"] ?? 300 * patience) * 1000;
/** How often a file is run until it passes: more than once where the processor itself is at fault now and then. */
const attempts = Number(process.env["MAYFLY_TEST_ATTEMPTS"] ?? 1);
const shownLines = 60;

const root = fileURLToPath(new URL("../..", import.meta.url));
const reports = mkdtempSync(join(tmpdir(), "mayfly-test-"));
const audit = new Audit(reports);
const environment = {
  ...process.env,
  ...audit.environment,
  PATH: `${root}node_modules/.bin:${process.env.PATH}`,
  NO_COLOR: "1",
  FORCE_COLOR: undefined,
  NODE_TEST_CONTEXT: undefined,
  // Node strips and compiles each source once for the whole suite, instead of once for each process.
  NODE_COMPILE_CACHE: join(reports, "compiled"),
};

/** The files named by the arguments, or all. */
function testFiles(paths: readonly string[]): string[] {
  const wanted = paths.map((path) => relative(root, resolve(path)));
  return globSync("{test,examples}/**/*_test.ts", { cwd: root }).sort().filter((file) =>
    wanted.length === 0 || wanted.some((path) => file === path || file.startsWith(`${path}/`))
  );
}

/** Runs one file on one host, and looks at what it leaves on the machine: that is a failure too. */
async function runFile(host: HostName, file: string): Promise<Outcome> {
  audit.begin();
  const { outcome, pid } = await runProcess(host, file);
  const left = await audit.end(pid);
  return left.length === 0 ? outcome : withFailure(outcome, "it left something on this machine", left.join("\n"));
}

/** Whatever its report says, a process that failed has at least one failure. */
async function runProcess(host: HostName, file: string): Promise<{ outcome: Outcome; pid: number | undefined }> {
  const report = join(reports, `${host}-${file.replaceAll("/", "-")}.xml`);
  const [program = host, ...args] = commands[host](file, report);
  const child = spawn(program, args, {
    cwd: root,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output += chunk);
  let late = false;
  const limit = setTimeout(() => {
    late = true;
    endGroup(child.pid);
  }, fileLimitMs);
  const ended = await new Promise<string>((end) => {
    child.once("error", (error) => end(error.message));
    // Not `close`: a process that a test left behind may hold the pipes.
    child.once("exit", (code, signal) => setTimeout(() => end(code === 0 ? "" : `exit ${code ?? signal}`), 50));
  });
  clearTimeout(limit);
  endGroup(child.pid);
  child.stdout.destroy();
  child.stderr.destroy();

  const outcome = existsSync(report)
    ? parseJunit(readFileSync(report, "utf8"))
    : { passed: 0, skipped: 0, failures: [] };
  const text = output.split("\n").slice(-shownLines).join("\n");
  const why = late
    ? `the file took longer than ${fileLimitMs / 1000} s`
    : outcome.failures.length > 0
    ? undefined
    : ended !== ""
    ? `the process failed: ${ended}`
    : outcome.passed + outcome.skipped === 0
    ? "no test ran"
    : undefined;
  return { outcome: why === undefined ? outcome : withFailure(outcome, why, text), pid: child.pid };
}

function withFailure(outcome: Outcome, name: string, text: string): Outcome {
  return { ...outcome, failures: [...outcome.failures, { name, text }] };
}

/** Ends what a test file left in its process group. */
function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing is left of it.
  }
}

const total = { passed: 0, failed: 0, skipped: 0 };

function finish(): never {
  rmSync(reports, { recursive: true, force: true });
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : "";
  console.log(`${total.passed} passed, ${total.failed} failed${skipped}`);
  process.exit(total.failed === 0 ? 0 : 1);
}

const named = process.argv.slice(2);
const isHost = (word: string): word is HostName => Object.hasOwn(commands, word);
const hosts = named.some(isHost) ? named.filter(isHost) : Object.keys(commands).filter(isHost);
const files = testFiles(named.filter((word) => !isHost(word)));

const reasons = lacking();
if (files.length === 0) reasons.push(`no test file matches ${named.join(" ")}`);
if (reasons.length > 0) {
  for (const reason of reasons) console.error(reason);
  total.failed = 1;
  finish();
}

for (const host of hosts) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const started = Date.now();
  for (const file of files) {
    const begin = Date.now();
    let outcome = await runFile(host, file);
    for (let attempt = 1; attempt < attempts && outcome.failures.length > 0; attempt++) {
      const [{ name, text } = { name: "", text: "" }] = outcome.failures;
      console.log(`${host.padEnd(4)}  ${file.padEnd(48)}  once more, since it failed: ${name}\n${text.slice(0, 2000)}`);
      outcome = await runFile(host, file);
    }
    const { passed, skipped, failures } = outcome;
    sum.passed += passed;
    sum.skipped += skipped;
    sum.failed += failures.length;
    const counts = `${passed} passed${failures.length > 0 ? `, ${failures.length} FAILED` : ""}${
      skipped > 0 ? `, ${skipped} skipped` : ""
    }`;
    console.log(`${host.padEnd(4)}  ${file.padEnd(48)}  ${counts}  (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
    for (const { name, text } of failures) {
      const shown = text.split("\n").slice(0, shownLines).map((line) => `      ${line}`).join("\n");
      console.log(`  FAILED on ${host}: ${file}: ${name}\n${shown}`);
    }
  }
  console.log(
    `${host}: ${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped in ${
      ((Date.now() - started) / 1000).toFixed(0)
    } s\n`,
  );
  total.passed += sum.passed;
  total.failed += sum.failed;
  total.skipped += sum.skipped;
}
finish();
