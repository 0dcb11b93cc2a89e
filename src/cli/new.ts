import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import process from "node:process";
import { Failure } from "../core/errors.ts";
import { type Command, text } from "./command.ts";

const js =
  `// The request's body is the standard input, the answer's is the standard output. What else came with the request is in
// the environment: REQUEST_METHOD, PATH_INFO, QUERY_STRING, HTTP_…
import process from "node:process";

let name = "";
for await (const part of process.stdin) name += part;
process.stdout.write(\`hello, \${name.trim() || "world"}\\n\`);
`;

const sh = `#!/bin/sh
# The request's body is the standard input, the answer's is the standard output. What else came with the request is in the
# environment: REQUEST_METHOD, PATH_INFO, QUERY_STRING, HTTP_…
name=$(cat)
echo "hello, \${name:-world}"
`;

interface File {
  readonly name: string;
  readonly text: string;
  readonly mode?: number;
}

const templates: Readonly<Record<string, readonly File[]>> = {
  js: [
    { name: "handler.js", text: js },
    { name: "package.json", text: `${JSON.stringify({ private: true, type: "module" }, undefined, 2)}\n` },
  ],
  sh: [{ name: "handler.sh", text: sh, mode: 0o755 }],
};

export const newCommand: Command = {
  name: "new",
  summary: "write a function's first lines into a new folder",
  usage: "new [options] <folder>",
  examples: ["mayfly new greet", "mayfly new greet --template sh && mayfly deploy ./greet"],
  words: { min: 1, max: 1 },
  flags: {
    template: { type: "string", value: Object.keys(templates).join("|"), help: "in which language (default js)" },
  },
  run({ words: [path = ""], flags, output }) {
    const template = text(flags, "template") ?? "js";
    const files = Object.hasOwn(templates, template) ? templates[template] : undefined;
    if (files === undefined) {
      const known = Object.keys(templates).join(", ");
      throw new Failure("invalid_argument", `no template ${JSON.stringify(template)}: there are ${known}`);
    }
    const folder = resolve(path);
    if (existsSync(folder) && readdirSync(folder).length > 0) {
      throw new Failure("already_exists", `cannot write to "${folder}": there is something in it`);
    }
    mkdirSync(folder, { recursive: true });
    for (const { name, text, mode = 0o644 } of files) writeFileSync(join(folder, name), text, { mode, flag: "wx" });
    const shown = relative(process.cwd(), folder);
    const where = shown.startsWith("..") ? folder : `./${shown}`;
    output.line(`mayfly deploy ${where} && mayfly invoke ${basename(folder)} --data you`);
    return Promise.resolve(0);
  },
};
