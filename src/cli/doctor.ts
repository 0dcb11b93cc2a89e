import type { Command } from "./command.ts";
import { type Check, checkMachine } from "./machine.ts";
import { checkForUser } from "./machine_for_user.ts";

export const doctor: Command = {
  name: "doctor",
  summary: "say what this machine can do, and how to get what it cannot",
  usage: "doctor [options]",
  async run({ host, config, output, ordinaryUser }) {
    const user = await ordinaryUser();
    const checks: Check[] = [
      { name: "host", state: "ok", says: `${host.name} ${host.version} on ${host.arch}` },
      ...user === undefined ? checkMachine(config.root) : checkForUser(config.root, user),
    ];
    if (host.arch !== "x64") {
      checks.push({
        name: "processor",
        state: "warn",
        says: `${host.arch}: its system calls were tried in emulation alone`,
        cure: "use an x86-64 machine where that is not enough",
      });
    }
    if (output.json) output.line(JSON.stringify(checks, undefined, 2));
    else {
      const marks = { ok: "ok  ", warn: "warn", bad: "BAD " };
      const width = Math.max(...checks.map((check) => check.name.length));
      for (const { name, state, says, cure } of checks) {
        output.line(`${marks[state]}  ${name.padEnd(width)}  ${says}`);
        if (cure !== undefined) output.line(`${" ".repeat(width + 8)}→ ${cure}`);
      }
    }
    return checks.some((check) => check.state === "bad") ? 1 : 0;
  },
};
