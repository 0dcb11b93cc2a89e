import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { checkedFetch } from "../../src/distribution/checked_fetch.ts";
import { sameHost } from "../support/same_host.ts";

/** Names, as `/etc/hosts` has them, and what this machine has of their addresses. */
const hosts = `127.0.0.1 here.example
203.0.113.5 registry.example
203.0.113.6 cdn.example
10.9.9.9 inside.example
169.254.169.254 secrets.example
`;

describe("a registry at a public address", () => {
  const folder = mkdtempSync(join(tmpdir(), "mayfly-led-"));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("leads uploads, downloads and lists to others like it, and nobody further inside", async () => {
    writeFileSync(join(folder, "hosts"), hosts);
    const names = ["cdn.example", "203.0.113.6", "inside.example", "10.9.9.9", "here.example", "secrets.example"];
    const command = [
      "ip link set lo up",
      ...["203.0.113.5", "203.0.113.6", "10.9.9.9", "169.254.169.254"].map((each) =>
        `ip address add ${each}/32 dev lo`
      ),
      `mount --bind ${join(folder, "hosts")} /etc/hosts`,
      'exec "$@"',
    ].join(" && ");
    const script = await sameHost(fileURLToPath(new URL("led_elsewhere.ts", import.meta.url)));
    const { stdout, stderr } = spawnSync(
      "unshare",
      ["--net", "--mount", "sh", "-c", command, "sh", ...script, ...names],
      { encoding: "utf8", timeout: 120_000 },
    );
    const lines = stdout.trim().split("\n").map((line) => JSON.parse(line) as Readonly<Record<string, string>>);
    assert.equal(lines.length, 3 * names.length, stderr);
    const methods = { push: "PUT", pull: "GET", list: "GET" } as const;
    for (const { elsewhere = "", act, outcome = "", reached } of lines) {
      const what = `${act} ${elsewhere}: ${outcome}`;
      if (elsewhere === "cdn.example" || elsewhere === "203.0.113.6") {
        assert.equal(outcome, "done", what);
        assert.deepEqual(reached, [`${methods[act as keyof typeof methods]} ${elsewhere} at 203.0.113.6`], what);
        continue;
      }
      const why = ["inside.example", "10.9.9.9"].includes(elsewhere)
        ? "a private network that the registry is no part of"
        : "this machine or its link";
      assert.match(outcome, new RegExp(`^permission_denied: .*it leads into ${why}$`), what);
      assert.deepEqual(reached, [], what);
    }
  });

  it("is connected to at the address that was looked at, whatever its name is by then", async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.headers.host}`);
      request.pipe(response.writeHead(201, { "x-there": "yes" }));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const url = new URL(`http://name.invalid:${port}/x`);
      const init = { method: "PUT", headers: new Headers(), body: "sent", signal: AbortSignal.timeout(10_000) };
      const answer = await checkedFetch(url, ["127.0.0.1"], init);
      assert.deepEqual([answer.status, answer.headers.get("x-there"), await answer.text()], [201, "yes", "sent"]);
      assert.deepEqual(asked, [`PUT name.invalid:${port}`]);
      await assert.rejects(checkedFetch(url, [], init), { code: "ENOTFOUND" });
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});
