import assert from "node:assert/strict";
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { TlsFiles } from "../../src/access/tls_files.ts";
import { Log } from "../../src/monitoring/log.ts";
import { makeCertificate } from "../support/certificate.ts";

describe("TlsFiles", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-tls-"));
  after(() => rmSync(folder, { recursive: true }));
  const one = makeCertificate(folder, "one");
  const two = makeCertificate(folder, "two");
  const lines: string[] = [];
  const log = new Log("info", (line) => void lines.push(line));

  it("takes up both files when both have changed, and one that does not fit never", () => {
    const [cert, key] = [join(folder, "cert"), join(folder, "key")];
    copyFileSync(one.certPath, cert);
    copyFileSync(one.keyPath, key);
    chmodSync(key, 0o600);
    using files = new TlsFiles({ cert, key, log });
    const seen: string[] = [];
    files.watch((identity) => seen.push(identity.cert));
    files.check();
    copyFileSync(two.certPath, join(folder, "new"));
    renameSync(join(folder, "new"), cert);
    files.check();
    assert.equal(files.identity.cert, one.cert);
    assert.match(
      lines.join("\n"),
      /cannot be used, the one from before still is.*it is not the key of the certificate/,
    );
    copyFileSync(two.keyPath, key);
    files.check();
    assert.deepEqual([files.identity.cert, files.identity.key], [two.cert, two.key]);
    rmSync(key);
    files.check();
    truncateSync(cert);
    files.check();
    assert.equal(files.identity.cert, two.cert);
    // Behind a link that leads elsewhere.
    rmSync(cert);
    symlinkSync(one.certPath, cert);
    symlinkSync(one.keyPath, key);
    files.check();
    assert.deepEqual(seen, [two.cert, one.cert]);
    assert.ok(lines.every((line) => !line.includes("PRIVATE KEY") && !line.includes(one.key.split("\n")[1] ?? "")));
  });

  it("refuses what cannot be used", () => {
    const text = join(folder, "text");
    writeFileSync(text, "hello");
    for (
      const [cert, key, pattern] of [
        [join(folder, "none"), one.keyPath, /cannot use tlsCert .*none/],
        [folder, one.keyPath, /it is no file/],
        [text, one.keyPath, /it holds no certificate in PEM/],
        [one.certPath, text, /it holds no private key in PEM/],
        [one.certPath, two.keyPath, /it is not the key of the certificate/],
      ] as const
    ) {
      assert.throws(() => new TlsFiles({ cert, key, log }), { code: "failed_precondition", message: pattern });
    }
  });
});
