import assert from "node:assert/strict";
import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * What the files of a folder may import beside their own folder. A word that ends in `/` is a folder of this tree (that of
 * `src` without `src/`); others are packages or built-in modules, with `node:` alone for all of those. `valibot` and
 * `src/version.ts` are allowed everywhere.
 */
const table: Readonly<Record<string, readonly string[]>> = {
  "core/": [],
  "host/": ["core/", "node:"],
  "linux/": ["core/"],
  "content/": ["core/", "node:fs", "node:path", "node:crypto", "node:zlib", "node:stream", "tar"],
  "distribution/": ["core/", "node:fs", "node:path", "node:crypto", "node:zlib", "node:stream", "node:os", "tar"],
  "metadata/": ["core/", "node:fs", "node:path", "node:url", "drizzle-orm", "@libsql/client"],
  "monitoring/": ["core/", "@opentelemetry/api"],
  "images/": [
    "core/",
    "content/",
    "distribution/",
    "linux/",
    "monitoring/",
    "node:fs",
    "node:path",
    "node:crypto",
    "node:zlib",
    "node:stream",
    "node:events",
    "node:os",
    "node:worker_threads",
    "tar",
  ],
  "tasks/": ["core/", "linux/", "monitoring/", "node:fs", "node:path"],
  "network/": ["core/", "linux/", "monitoring/", "node:fs", "node:path"],
  "functions/": ["core/", "images/", "tasks/", "network/", "monitoring/", "node:path"],
  "registry/": ["core/", "images/", "node:crypto", "hono"],
  "access/": ["core/", "node:fs", "node:crypto"],
  "api/": ["access/", "core/", "images/", "tasks/", "functions/", "monitoring/", "hono"],
  "cli/": ["core/", "config.ts", "node:fs", "node:path", "node:os", "node:process", "node:stream", "node:util"],
  // Loads what a container's life takes, and nothing of the daemon.
  "oci/": ["core/", "linux/", "tasks/", "node:fs", "node:path"],
  "version.ts": [],
  "config.ts": ["core/"],
  "runtimes/": ["core/", "linux/", "node:fs", "node:path"],
  "snapshotters/": ["core/", "linux/", "node:fs", "node:path"],
};

/** What single files may import on top of their folder's row, and why. */
const exceptions: Readonly<Record<string, readonly string[]>> = {
  // Loaded when the API's description is asked for.
  "src/api/openapi.ts": ["@valibot/to-json-schema"],
  // The only place of the packages that make Node a host, and of Bun's FFI.
  "src/host/node.ts": ["koffi"],
  "src/host/node_serve.ts": ["@hono/node-server"],
  "src/host/node_upgrade.ts": ["@hono/node-server", "ws"],
  "src/host/ws_connection.ts": ["ws"],
  "src/host/bun.ts": ["bun:ffi"],
  // Commands reach the daemon through the admin API's typed client, and know nothing else of the API.
  "src/cli/connection.ts": ["api/"],
  // The one way to speak TLS with settings of one's own that every host has.
  "src/distribution/tls.ts": ["node:https"],
  // The one way to connect to an address in place of a name that every host has.
  "src/distribution/as_fetch.ts": ["node:http"],
  "src/distribution/checked_fetch.ts": ["node:http"],
  "src/distribution/hosts.ts": ["smol-toml"],
  // Whether a registry is in a private network itself.
  "src/distribution/endpoint.ts": ["node:dns"],
  // Programs are started by the launch stub.
  "src/distribution/credential_helper.ts": ["linux/"],
  // Loaded when the first JWT comes.
  "src/access/oidc.ts": ["jose"],
  // Which network an address is in.
  "src/api/client_address.ts": ["node:net"],
  // Patterns of cron, with time zones.
  "src/functions/timetable.ts": ["croner"],
  // Archives are how files go in and out of a container.
  "src/cli/cp.ts": ["tar"],
  "src/cli/source.ts": ["tar"],
  // Loaded when the daemon runs: importing the SDK takes 0.3 s.
  "src/monitoring/sdk.ts": ["@opentelemetry/sdk-node", "node:os"],
  // A file of its own, that can be renamed meanwhile.
  "src/monitoring/access_log.ts": ["node:fs", "node:process"],
  // The daemon's own use of resources.
  "src/monitoring/process_metrics.ts": ["node:process"],
  // Folders are renamed and removed as they are; nothing of them needs a raw system call.
  "src/linux/snapshot_folders.ts": ["node:fs", "node:path"],
  "src/linux/overlay/files.ts": ["node:fs", "node:path"],
  "src/linux/overlay/options.ts": ["node:fs"],
  "src/linux/whole_trees.ts": ["node:path"],
  // A folder of many blobs is listed by system calls.
  "src/content/mod.ts": ["linux/"],
  // The whole of /proc is listed.
  "src/linux/namespace_pids.ts": ["node:fs"],
  // A turn of the event loop between slices of synchronous work.
  "src/metadata/gc.ts": ["linux/"],
  "src/metadata/repositories.ts": ["linux/"],
  "src/metadata/paged.ts": ["node:timers"],
  "src/linux/slice.ts": ["node:timers"],
  "src/functions/invoke.ts": ["node:timers"],
  "src/functions/calls.ts": ["node:timers"],
  // What comes in one turn is committed together.
  "src/metadata/gathered.ts": ["node:timers"],
};

/** Files that tie everything together. */
const unbound = new Set([
  "src/daemon.ts",
  "src/mayfly.ts",
  "src/plugins.ts",
  "src/plugin_modules.ts",
  "src/main.ts",
  "src/command_line.ts",
  "src/oci.ts",
  "src/rootless.ts",
  "src/unpack_thread.ts",
]);

interface Source {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

/** `src/build` makes what is handed out, and is no part of it. */
const paths = globSync("{src,runtimes,snapshotters}/**/*.ts", { cwd: root }).filter((path) => rowOf(path) !== "build/");

const sources: readonly Source[] = paths.sort().map((path) => {
  const text = readFileSync(join(root, path), "utf8");
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
  const statements = [
    ...code.matchAll(/^\s*(?:import|export)\b[^;"']*?\bfrom\s*"([^"]+)"/gm),
    ...code.matchAll(/^\s*import\s*"([^"]+)"/gm),
    ...code.matchAll(/\bimport\(\s*"([^"]+)"/g),
  ];
  return { path, text, imports: statements.flatMap(([, name]) => name ?? []) };
});

/** `src/core/host.ts` → `core/`, `runtimes/native/mod.ts` → `runtimes/`, `src/config.ts` → `config.ts`. */
function rowOf(path: string): string {
  const inside = path.replace(/^src\//, "");
  return inside.includes("/") ? `${inside.split("/", 1)}/` : inside;
}

/** The folder whose files may import each other: one plugin is one folder. */
function home(path: string): string {
  return /^(?:runtimes|snapshotters)\/[^/]+\//.exec(path)?.[0] ?? rowOf(path);
}

function isAllowed(source: Source, name: string): boolean {
  const allowed = ["valibot", "version.ts", ...table[rowOf(source.path)] ?? [], ...exceptions[source.path] ?? []];
  if (!name.startsWith(".")) {
    return allowed.some((entry) => name === entry || name.startsWith(entry.endsWith(":") ? entry : `${entry}/`));
  }
  const target = join(dirname(source.path), name);
  return home(target) === home(source.path) || allowed.includes(rowOf(target));
}

/** Lines of a file, without comments, that match. */
function uses(pattern: RegExp, except: (path: string) => boolean): string[] {
  return sources.filter(({ path }) => !except(path)).flatMap(({ path, text }) =>
    text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, "")).split("\n").flatMap((line, index) =>
      pattern.test(line.replace(/(?:^|\s)\/\/ .*$/, "")) ? [`${path}:${index + 1}: ${line.trim()}`] : []
    )
  );
}

const inHost = (path: string) => path.startsWith("src/host/");
const nowhere = () => false;

/** The files that a file loads at once: not for a type alone, and not by `import()`. */
function loadedBy(path: string, seen: Set<string> = new Set()): ReadonlySet<string> {
  if (seen.has(path)) return seen;
  seen.add(path);
  for (const next of loads(path)) loadedBy(next, seen);
  return seen;
}

/** The files that one loads itself, when it is loaded. */
function loads(path: string): readonly string[] {
  const text = sources.find((source) => source.path === path)?.text ?? "";
  return [...text.matchAll(/^(?:import|export)\b(?! type\b)[^;"']*?\bfrom\s*"(\.[^"]+)"/gm)].map(([, name = ""]) =>
    join(dirname(path), name)
  );
}

/** Files that load each other in a circle: which one is ready first would be chance. */
function cycles(): readonly string[] {
  const [done, found] = [new Set<string>(), new Set<string>()];
  const visit = (path: string, way: readonly string[]): void => {
    const at = way.indexOf(path);
    if (at >= 0) return void found.add([...way.slice(at), path].join(" > "));
    if (done.has(path)) return;
    for (const next of loads(path)) visit(next, [...way, path]);
    done.add(path);
  };
  for (const { path } of sources) visit(path, []);
  return [...found];
}

describe("the tree", () => {
  it("has sources", () => assert.ok(sources.length > 20));

  it("has at its top what belongs there", () => {
    const wanted = [
      "src",
      "runtimes",
      "snapshotters",
      "test",
      "examples",
      "Dockerfile",
      "README.md",
      "LICENSE",
    ];
    const files = ["deno.json", "package.json", "package-lock.json", "tsconfig.json", "node_modules", "dist"];
    const found = readdirSync(root).filter((name) => !name.startsWith(".") && !name.endsWith(".log"));
    assert.deepEqual(found.filter((name) => ![...wanted, ...files].includes(name)), []);
  });

  it("imports what the table allows and nothing else", () => {
    const wrong = sources.filter(({ path }) => !unbound.has(path)).flatMap((source) =>
      source.imports.filter((name) => !isAllowed(source, name)).map((name) => `${source.path} imports ${name}`)
    );
    assert.deepEqual(wrong, []);
  });

  it("has no files that load each other in a circle", () => assert.deepEqual(cycles(), []));

  it("names every folder in the table", () => {
    const rows = new Set(sources.filter(({ path }) => !unbound.has(path)).map(({ path }) => rowOf(path)));
    assert.deepEqual([...rows].filter((row) => table[row] === undefined), []);
  });

  it("imports no mod.ts from inside its own folder", () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports.filter((name) => name.startsWith(".") && join(dirname(path), name) === join(dirname(path), "mod.ts"))
        .map((name) => `${path} imports ${name}`)
    );
    assert.deepEqual(wrong, []);
  });

  it("imports with extensions", () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports.filter((name) => name.startsWith(".") && !/\.(?:ts|json)$/.test(name)).map((name) => `${path}: ${name}`)
    );
    assert.deepEqual(wrong, []);
  });

  it("imports the OpenTelemetry SDK in one file at most", () => {
    const importers = sources.filter(({ imports }) => imports.some((name) => /^@opentelemetry\/(?!api$)/.test(name)));
    assert.ok(importers.length <= 1, importers.map(({ path }) => path).join(", "));
  });

  it("takes the process from node:process, where the table sees it", () => {
    const wrong = sources.filter(({ text, imports }) =>
      !imports.includes("node:process") &&
      /(?<![.\w"`'#])process\.(?:env|argv|exit|pid|std|cpuUsage|memoryUsage|on\(|kill|getuid|cwd\()/.test(text)
    );
    assert.deepEqual(wrong.map(({ path }) => path), []);
  });

  it("has plugins that write out the contract version they were built for", () => {
    const wrong = sources.filter(({ text }) => /\bkind: "\w+",/.test(text) && /\bcontract: (?!\d)/.test(text));
    assert.deepEqual(wrong.map(({ path }) => path), []);
  });

  it("loads nothing of the daemon for a command that reaches one", () => {
    const loaded = [...loadedBy("src/command_line.ts")];
    assert.ok(loaded.includes("src/api/client.ts"), loaded.join(" "));
    assert.deepEqual(
      loaded.filter((path) =>
        !/^src\/(?:command_line|config|version|cli\/.*|core\/.*|host\/.*|api\/client)\.ts$/.test(path)
      ),
      [],
    );
  });

  const rules: readonly [string, RegExp, (path: string) => boolean][] = [
    ["uses Deno, Bun and their kin in src/host alone", /\b(?:Deno|Bun)\.|\bfrom "(?:bun(?::\w+)?|koffi)"/, inHost],
    ["asks in one place which host runs", /"(?:Deno|Bun)" in |process\.versions\.|\bprocess\.isBun\b/, inHost],
    ["has no `as any` and no `: any`", /\bas any\b|:\s*any\b(?!\w)|<any>/, nowhere],
    ["silences no type error", /@ts-(?:ignore|expect-error|nocheck)/, nowhere],
  ];
  for (const [name, pattern, except] of rules) {
    it(name, () => assert.deepEqual(uses(pattern, except), []));
  }

  it("exports files that are there", () => {
    const { exports }: { exports: Record<string, string> } = JSON.parse(
      readFileSync(join(root, "package.json"), "utf8"),
    );
    assert.deepEqual(Object.values(exports).filter((path) => !existsSync(join(root, path))), []);
  });

  it("imports the adapters from src/host/mod.ts alone", () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports.filter((name) => /(?:^|\/)(?:deno|bun|node)\.ts$/.test(name) && path !== "src/host/mod.ts")
        .map((name) => `${path} imports ${name}`)
    );
    assert.deepEqual(wrong, []);
  });
});
