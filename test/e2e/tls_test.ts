import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeBusyboxImage } from "../support/busybox_image.ts";
import { makeCertificate } from "../support/certificate.ts";
import { mayfly, MayflyProcess, stateFlags } from "../support/mayfly_process.ts";
import { until } from "../support/until.ts";

describe("TLS, and two addresses", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-tls-"));
  const one = makeCertificate(folder, "one");
  const two = makeCertificate(folder, "two");
  const [cert, key] = [join(folder, "cert"), join(folder, "key")];
  let daemon: MayflyProcess;
  let urls: readonly string[];
  let token: string;
  const out = async (command: string, ...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await mayfly([command, ...stateFlags(folder), ...args]);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  /** Status and body, or none where the certificate is not the one that is trusted. */
  const ask = (url: string, trusted: string, ...args: readonly string[]): Promise<string | undefined> =>
    new Promise((resolve) => {
      const all = ["-sS", "-m", "15", "-w", " %{http_code}", "--cacert", join(folder, `${trusted}.pem`), ...args, url];
      execFile("curl", all, (error, out) => resolve(error === null ? out : undefined));
    });

  before(async () => {
    copyFileSync(one.certPath, cert);
    copyFileSync(one.keyPath, key);
    const addresses = ["--admin-listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0"];
    daemon = await MayflyProcess.start(folder, ["--tls-cert", cert, "--tls-key", key, ...addresses]);
    const all = () => [...daemon.log().matchAll(/listens on (https?:\S+)/g)].map(([, url = ""]) => url);
    urls = await until(() => all().length === 3 && all());
    await out("import", makeBusyboxImage(folder, "box:1"));
    await out("deploy", "env", "--image", "box:1", "--", "sh", "-c", "cat; echo $HTTPS $SERVER_PORT");
    token = await out("token", "create", "looks", "--scope", "read");
  });
  after(async () => {
    assert.equal(await daemon.end("SIGTERM"), 0, daemon.log());
    rmSync(folder, { recursive: true, force: true });
  });

  it("is spoken on every address, and functions are told", async () => {
    for (const url of urls) assert.match(url, /^https:/);
    const port = new URL(urls[0] ?? "").port;
    assert.equal(await ask(`${urls[0]}/fn/env`, "one", "--data-binary", "hi "), `hi on ${port}\n 200`);
    assert.match(await ask(urls[2] ?? "", "one") ?? "", /UNAUTHORIZED.* 401$/);
    assert.equal(await ask(`${urls[0]}/fn/env`, "two"), undefined);
  });

  it("keeps the admin API to its own address", async () => {
    const login = ["-H", `Authorization: Bearer ${token}`];
    assert.match(await ask(`${urls[0]}/v1/functions`, "one", ...login) ?? "", /not served over TCP.* 403$/);
    assert.match(await ask(`${urls[1]}/v1/functions`, "one", ...login) ?? "", /"env".* 200$/);
    assert.match(await ask(`${urls[1]}/v1/functions`, "one") ?? "", /wanted Authorization.* 401$/);
    const rebound = ["-H", "Host: rebound.example"];
    assert.match(
      await ask(`${urls[1]}/v1/functions`, "one", ...login, ...rebound) ?? "",
      /none of this daemon's names.* 403$/,
    );
  });

  it("takes up another certificate while it runs", async () => {
    copyFileSync(two.certPath, cert);
    await until(() => daemon.log().includes("the one from before still is"));
    assert.match(await ask(`${urls[0]}/healthz`, "one") ?? "", /200$/);
    copyFileSync(two.keyPath, key);
    await until(() => daemon.log().includes("took up another certificate"));
    for (const url of [urls[0], urls[1]]) {
      assert.match(await until(() => ask(`${url}/healthz`, "two")), /200$/);
      assert.equal(await ask(`${url}/healthz`, "one"), undefined);
    }
    assert.doesNotMatch(daemon.log(), /PRIVATE/);
  });

  it("is refused where its files are of no use", async () => {
    const serve = (...flags: readonly string[]) => mayfly(["serve", ...stateFlags(join(folder, "other")), ...flags]);
    const wrong = await serve("--tls-cert", one.certPath, "--tls-key", two.keyPath, "--listen", "127.0.0.1:0");
    assert.match(wrong.stderr, /cannot use tlsKey .*it is not the key of the certificate/);
    assert.doesNotMatch(wrong.stderr, /listens on http/);
    assert.match((await serve("--tls-cert", one.certPath)).stderr, /tlsCert is of no use alone: set MAYFLY_TLS_KEY/);
  });
});
