import { readFileSync } from "node:fs";
import process from "node:process";
import { Failure, messageOf } from "../core/errors.ts";
import { succeeded } from "./answer.ts";
import { type Command, text, texts } from "./command.ts";
import { namespaceFlag, pairs } from "./flags.ts";
import { standardInput } from "./stdin.ts";

export const invoke: Command = {
  name: "invoke",
  summary: "send a function a request and print its answer",
  usage: "invoke [options] <name>[@tag][/path]",
  examples: ["echo hello | mayfly invoke upper", "mayfly invoke upper --data hello"],
  words: { min: 1, max: 1 },
  flags: {
    ...namespaceFlag,
    data: {
      type: "string",
      short: "d",
      value: "text|@file",
      help: "the body; default: standard input, where it is no terminal",
    },
    revision: { type: "string", value: "revision", help: "the one that is to answer: its name, number or tag" },
    async: { type: "boolean", help: "do not wait: print the id of the call, see `mayfly calls`" },
    method: { type: "string", short: "X", value: "method", help: "default POST" },
    header: { type: "string", short: "H", multiple: true, value: "name=value", help: "a header; may be given often" },
  },
  async run({ connect, words: [target = ""], flags, output }) {
    const data = text(flags, "data");
    const method = text(flags, "method") ?? "POST";
    const body = method === "GET" || method === "HEAD"
      ? undefined
      : data !== undefined
      ? data.startsWith("@") ? contentOf(data.slice(1)) : data
      : process.stdin.isTTY === true
      ? undefined
      : standardInput();
    const [named = "", ...rest] = target.split("/");
    const [name = "", tag] = named.split("@", 2);
    const revision = text(flags, "revision") ?? tag;
    const namespace = text(flags, "namespace");
    const path = `${flags["async"] === true ? "/async" : ""}/fn/${encodeURIComponent(name)}${
      namespace === undefined ? "" : `.${namespace}`
    }${rest.map((part) => `/${part}`).join("")}`;
    await using connection = await connect();
    const request = new Request(new URL(path, "http://mayfly"), {
      method,
      headers: {
        ...pairs("header", texts(flags, "header")),
        ...(revision !== undefined && { "x-mayfly-revision": revision }),
      },
      ...(body === undefined ? {} : { body, duplex: "half" }),
    } as RequestInit);
    const answer = await succeeded(connection.fetch(request));
    if (flags["async"] === true) {
      output.line(answer.headers.get("x-call-id") ?? "");
      return 0;
    }
    try {
      for await (const chunk of answer.body ?? []) await output.bytes(chunk);
    } catch (cause) {
      throw new Failure("aborted", `the function failed after its answer had begun; see: mayfly logs ${name}`, {
        cause,
      });
    }
    return 0;
  },
};

function contentOf(path: string): Uint8Array<ArrayBuffer> {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Failure("invalid_argument", `cannot read --data @${path}: ${messageOf(cause)}`, { cause });
  }
}
