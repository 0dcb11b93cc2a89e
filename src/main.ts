#!/usr/bin/env -S node
/** The entry. The two command lines share nothing: an OCI runtime is started for each step of a container's life. */
import process from "node:process";

const [name, ...rest] = process.argv.slice(2);
const status = name === "oci"
  ? await (await import("./oci.ts")).oci(rest)
  : await (await import("./command_line.ts")).commandLine(process.argv.slice(2));
process.exit(status);
