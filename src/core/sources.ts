import * as v from "valibot";

/** Of which image functions of a language are made, and what runs their file. */
const LanguageSchema = v.strictObject({
  image: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  /** Words; `{file}` in them is the file's path in the container. */
  command: v.pipe(v.array(v.pipe(v.string(), v.maxLength(4096))), v.minLength(1), v.maxLength(64)),
});
export type Language = v.InferOutput<typeof LanguageSchema>;

const node: Language = { image: "docker.io/library/node:24-slim", command: ["node", "{file}"] };

const known: Readonly<Record<string, Language>> = {
  ".js": node,
  ".mjs": node,
  ".cjs": node,
  ".ts": node,
  ".mts": node,
  ".py": { image: "docker.io/library/python:3-slim", command: ["python3", "{file}"] },
  ".sh": { image: "docker.io/library/busybox:latest", command: ["sh", "{file}"] },
  executable: { image: "docker.io/library/debian:stable-slim", command: ["{file}"] },
};

/** Languages by the end of a file's name, or `executable`: what is given, over what is known by itself. */
export const SourcesSchema = v.pipe(
  v.record(
    v.pipe(v.string(), v.regex(/^(?:\.[A-Za-z0-9_+-]{1,16}|executable)$/, "the end of a name, as .js, or executable")),
    LanguageSchema,
  ),
  v.transform((given): Readonly<Record<string, Language>> => ({ ...known, ...given })),
);
