/*
 * The OCI distribution conformance suite against the registry inside, on the host that runs this: `npm run conformance`.
 *
 * It is a Go program, and comes from the Go module proxy: it wants Go 1.24 or newer, which Debian bookworm has not. The
 * tests in test/registry hold the same points without it. The working folder keeps the program, and the suite's report
 * (report.html, junit.xml), in `/tmp/mayfly-conformance`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { currentHost } from "../../src/host/mod.ts";
import { registryEnv, tokens } from "../registry/client.ts";
import { MayflyProcess } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

const suite = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111";
const folder = join(tmpdir(), "mayfly-conformance");

function run(program: string, args: readonly string[], env: Readonly<Record<string, string>>): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: folder,
    env: { ...process.env, ...env },
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status === 0) return stdout;
  throw new Error(`${program} ended with ${status}: ${error?.message ?? ""}${stdout.slice(-8000)}${stderr}`);
}

mkdirSync(folder, { recursive: true });
const program = join(folder, "conformance");
if (!existsSync(program)) run("go", ["install", suite], { GOBIN: folder, GOFLAGS: "-mod=mod" });

const state = mkdtempSync(join(folder, "daemon-"));
try {
  await using daemon = await MayflyProcess.start(state, ["--registry-listen", "127.0.0.1:0"], registryEnv);
  const registry = await until(() => /listens on http:\/\/(\S+)\/v2\//.exec(daemon.log())?.[1]);
  const { name } = await currentHost();
  const output = run(program, [], {
    OCI_REGISTRY: registry,
    OCI_TLS: "disabled",
    OCI_USERNAME: "default",
    OCI_PASSWORD: tokens.default,
    OCI_RESULTS_DIR: join(folder, `results-${name}`),
    OCI_VERSION: "1.1",
    // What the specification leaves open, and this registry does; of that, it only refuses images with parts missing.
    OCI_API_BLOBS_DIGEST_HEADER: "true",
    OCI_API_BLOBS_UPLOAD_CANCEL: "true",
    OCI_API_MANIFESTS_DIGEST_HEADER: "true",
    OCI_API_MANIFESTS_TAG_PARAM: "true",
  });
  console.log(`${name}: ${output.slice(output.indexOf("OCI Conformance Result"))}`);
} finally {
  rmSync(state, { recursive: true, force: true });
}
