import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { mediaTypes } from "../../../src/core/descriptor.ts";
import { codeOf, type ErrorCode, messageOf } from "../../../src/core/errors.ts";
import { parseReference } from "../../../src/core/reference.ts";
import { currentHost } from "../../../src/host/mod.ts";
import { VerifierPrograms } from "../../../src/images/verify/verifier_programs.ts";

const target = { mediaType: mediaTypes.manifest, digest: `sha256:${"1".repeat(64)}`, size: 7 } as const;
const image = { namespace: "default", reference: parseReference("r.test/a/b:1"), target };

describe("verifier programs", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-verifiers-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  let count = 0;
  /** Asks programs of these texts. */
  const ask = async (programs: Readonly<Record<string, string>>, timeoutMs?: number) => {
    const path = join(folder, `${count++}`);
    mkdirSync(path);
    for (const [name, text] of Object.entries(programs)) {
      writeFileSync(join(path, name), text);
      chmodSync(join(path, name), 0o755);
    }
    await new VerifierPrograms(await currentHost(), path, timeoutMs).verify(image);
  };
  const refuses = (promise: Promise<unknown>, code: ErrorCode, text: RegExp) =>
    assert.rejects(promise, (error) => {
      assert.equal(codeOf(error), code, String(error));
      assert.match(messageOf(error), text);
      return true;
    });

  it("are told the image as containerd tells it", async () => {
    const told = join(folder, "told");
    await ask({ one: `#!/bin/sh\n{ echo "$@"; cat; } > ${told}\n` });
    const [args, input = ""] = readFileSync(told, "utf8").split("\n");
    assert.equal(
      args,
      `-name r.test/a/b:1 -digest ${target.digest} -stdin-media-type application/vnd.oci.descriptor.v1+json`,
    );
    assert.deepEqual(JSON.parse(input), target);
  });

  it("have all to accept", async () => {
    await ask({});
    const yes = "#!/bin/sh\nexit 0\n";
    await ask({ a: yes, b: yes });
    await refuses(
      ask({ a: yes, b: "#!/bin/sh\necho 'too old'\nexit 3\n" }),
      "permission_denied",
      /\/b refuses sha256:1+: it ended with 3: too old/,
    );
    await refuses(ask({ a: "#!/bin/sh\nexit 1\n", b: yes }), "permission_denied", /gave no reason/);
    await refuses(ask({ a: "#!/bin/sh\nkill -9 $$\n" }), "permission_denied", /ended with 137/);
  });

  it("that cannot be asked accept nothing", async () => {
    await refuses(ask({ a: "no program" }), "failed_precondition", /cannot ask its verifier: /);
    await refuses(ask({ a: "#!/bin/sh\nexec sleep 1000\n" }, 100), "deadline_exceeded", /within 100 ms/);
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`${i}`, "#!/bin/sh\n"]));
    await refuses(ask(many), "failed_precondition", /11 files, want 10/);
    const missing = new VerifierPrograms(await currentHost(), join(folder, "missing"));
    await refuses(missing.verify(image), "failed_precondition", /cannot list its verifiers/);
  });
});
