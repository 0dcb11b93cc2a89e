import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { startTokenServer, type TokenServer } from "./token_server.ts";

const run = promisify(execFile);

export interface RegistryOptions {
  /** Who may use it. Default: everybody. */
  readonly auth?: "none" | "htpasswd" | "token";
  /** Whether it speaks https, with a certificate of a CA of its own. */
  readonly tls?: boolean;
}

/** A real registry for tests: Debian's docker-registry on a free port of 127.0.0.1, with storage of its own. */
export interface TestRegistry extends AsyncDisposable {
  /** `127.0.0.1:port`, as a reference names it. */
  readonly host: string;
  /** The folder of its storage. */
  readonly storage: string;
  /** The file of its CA, where it speaks https. */
  readonly ca: string | undefined;
  /** The server of its tokens, where it wants them. */
  readonly tokens: TokenServer | undefined;
  /** Copies an image there. @param source as skopeo names it: `oci:/folder:tag`. @param name `repository:tag`. */
  push(source: string, name: string, options?: readonly string[]): Promise<void>;
  /** The file that holds a blob. */
  blobPath(digest: string): string;
}

/** The one user whom a registry with `auth` knows. The password has what a careless parser trips over. */
export const registryUser = { username: "alice", password: "open: sesame ü" } as const;
const registryUserHash = "$2y$05$CAWAzCOVcxJKWkwImfHEBea5WBJ7UiEESbWIgENfjZrzV6sWMGuym";

/** Starts a registry. Disposing ends it and removes its folder. @throws when docker-registry is not installed. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "mayfly-registry-"));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const storage = join(folder, "storage");
  const tls = options.tls ? await makeCertificate(folder) : undefined;

  const auth: Record<string, unknown> = {};
  let tokens: TokenServer | undefined;
  if (options.auth === "htpasswd") {
    const path = join(folder, "htpasswd");
    await writeFile(path, `${registryUser.username}:${registryUserHash}\n`);
    auth["htpasswd"] = { realm: "mayfly test", path };
  } else if (options.auth === "token") {
    tokens = undo.use(await startTokenServer(folder, registryUser));
    const { realm, service, issuer, certificate } = tokens;
    auth["token"] = { realm, service, issuer, rootcertbundle: certificate };
  }

  const config = join(folder, "config.json");
  // JSON is YAML.
  await writeFile(
    config,
    JSON.stringify({
      version: "0.1",
      log: { level: "info", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: storage }, delete: { enabled: true } },
      http: { addr: "127.0.0.1:0", ...(tls === undefined ? {} : { tls }) },
      ...(Object.keys(auth).length === 0 ? {} : { auth }),
    }),
  );
  const { port, stop } = await serve(config);
  undo.defer(stop);

  const host = `127.0.0.1:${port}`;
  const ca = tls === undefined ? undefined : join(folder, "ca.pem");
  const end = undo.move();
  return {
    host,
    storage,
    ca,
    tokens,
    async push(source, name, more = []) {
      const who = auth["htpasswd"] ?? auth["token"];
      const credentials = who === undefined ? [] : [`--dest-creds=${registryUser.username}:${registryUser.password}`];
      const flags = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", ...credentials, ...more];
      await run("skopeo", [...flags, source, `docker://${host}/${name}`]);
    },
    blobPath(digest) {
      const [algorithm = "", hex = ""] = digest.split(":");
      return join(storage, "docker/registry/v2/blobs", algorithm, hex.slice(0, 2), hex, "data");
    },
    [Symbol.asyncDispose]: () => end.disposeAsync(),
  };
}

/** Runs the registry until it says which port it has. */
function serve(config: string): Promise<{ port: string; stop: () => Promise<void> }> {
  const child = spawn("docker-registry", ["serve", config], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const stop = () => {
    child.kill("SIGKILL");
    return ended;
  };
  return new Promise((resolve, reject) => {
    let log = "";
    child.once("error", reject);
    child.once("close", () => reject(new Error(`docker-registry ended: ${log}`)));
    child.stderr.on("data", (chunk) => {
      log = (log + String(chunk)).slice(-16_384);
      const port = /listening on 127\.0\.0\.1:([0-9]+)/.exec(log)?.[1];
      if (port !== undefined) resolve({ port, stop });
    });
  });
}

/** Makes a CA (`ca.pem`), and a certificate of it for this machine. */
export async function makeCertificate(folder: string): Promise<{ certificate: string; key: string }> {
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => run("openssl", args);
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = ["-x509", "-days", "2", "-subj", "/CN=Mayfly test CA", "-addext", "basicConstraints=critical,CA:TRUE"];
  await openssl("req", ...newKey, "-keyout", at("ca.key"), "-out", at("ca.pem"), ...ca);
  await openssl("req", ...newKey, "-keyout", at("tls.key"), "-out", at("tls.csr"), "-subj", "/CN=localhost");
  const extensions = at("extensions");
  await writeFile(extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
  const sign = ["-in", at("tls.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial"];
  await openssl("x509", "-req", "-days", "2", ...sign, "-extfile", extensions, "-out", at("tls.pem"));
  return { certificate: at("tls.pem"), key: at("tls.key") };
}
