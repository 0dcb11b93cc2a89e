import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Descriptor, mediaTypes, type Platform } from "../../src/core/descriptor.ts";
import {
  choosePlatform,
  defaultPlatform,
  formatPlatform,
  matchPlatform,
  parsePlatform,
} from "../../src/core/platform.ts";

describe("parsePlatform()", () => {
  const read: readonly [text: string, normal: string][] = [
    ["linux/amd64", "linux/amd64"],
    ["Linux/x86_64", "linux/amd64"],
    ["linux/amd64/v1", "linux/amd64"],
    ["linux/amd64/v3", "linux/amd64/v3"],
    ["arm64", "linux/arm64"],
    ["linux/aarch64/v8", "linux/arm64"],
    ["linux/arm64/8", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["linux/i686", "linux/386"],
    ["linux/riscv64", "linux/riscv64"],
  ];
  for (const [text, normal] of read) {
    it(`reads ${text}`, () => assert.equal(formatPlatform(parsePlatform(text)), normal));
  }

  for (const text of ["", "/", "linux/", "linux/amd64/v1/x", "li nux/amd64", "linux//v8", "../x", "x".repeat(100)]) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parsePlatform(text), { code: "invalid_argument" });
    });
  }
});

describe("matchPlatform()", () => {
  const table: readonly [machine: string, image: string, rank: number | undefined][] = [
    ["linux/amd64", "linux/amd64", 0],
    ["linux/amd64", "linux/386", 1],
    ["linux/amd64", "linux/amd64/v2", undefined],
    ["linux/amd64/v3", "linux/amd64", 2],
    ["linux/amd64", "linux/arm64", undefined],
    ["linux/amd64", "windows/amd64", undefined],
    ["linux/arm64", "linux/arm64/v8", 0],
    ["linux/arm64", "linux/arm/v7", 2],
    ["linux/arm/v7", "linux/arm/v6", 1],
    ["linux/arm/v6", "linux/arm/v7", undefined],
    ["linux/riscv64", "linux/riscv64", 0],
  ];
  for (const [machine, image, rank] of table) {
    it(`${machine} runs ${image}: ${rank ?? "no"}`, () => {
      assert.equal(matchPlatform(parsePlatform(machine), parsePlatform(image)), rank);
    });
  }
});

describe("choosePlatform()", () => {
  const manifest = (size: number, platform?: Platform): Descriptor => ({
    mediaType: mediaTypes.manifest,
    digest: `sha256:${"0".repeat(64)}`,
    size,
    ...(platform === undefined ? {} : { platform }),
  });
  const attestation = manifest(9, { os: "unknown", architecture: "unknown" });

  it("takes the best, wherever it stands", () => {
    const arm = (variant: string) => ({ os: "linux", architecture: "arm", variant });
    const manifests = [attestation, manifest(6, arm("v6")), manifest(7, arm("v7")), manifest(5, arm("v5"))];
    assert.equal(choosePlatform(manifests, parsePlatform("linux/arm64")).size, 7);
    assert.equal(choosePlatform([...manifests].reverse(), parsePlatform("linux/arm/v6")).size, 6);
  });

  it("takes the first of equals", () => {
    const platform = defaultPlatform("x64");
    assert.equal(choosePlatform([manifest(1, platform), manifest(2, platform)], platform).size, 1);
  });

  it("takes a manifest without platform where nothing else fits", () => {
    const machine = defaultPlatform("arm64");
    const other = manifest(1, defaultPlatform("x64"));
    assert.equal(choosePlatform([manifest(2), other], machine).size, 2);
    assert.equal(choosePlatform([manifest(2), manifest(3, machine)], machine).size, 3);
  });

  it("names what is there", () => {
    assert.throws(
      () => choosePlatform([attestation, manifest(1, defaultPlatform("x64"))], defaultPlatform("arm64")),
      { code: "not_found", message: "cannot find an image for linux/arm64: the index has linux/amd64" },
    );
    assert.throws(() => choosePlatform([attestation], defaultPlatform("x64")), { message: /the index has no image$/ });
  });
});
