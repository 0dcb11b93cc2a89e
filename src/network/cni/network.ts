import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { Failure, messageOf } from "../../core/errors.ts";
import {
  type Attachment,
  type ConnectOptions,
  type Network,
  type NetworkSettings,
  withConnection,
} from "../../core/network.ts";
import { parse } from "../../core/parse.ts";
import type { Spec } from "../../core/spec.ts";
import { Children } from "../../linux/children.ts";
import { findProgram } from "../../linux/find_program.ts";
import type { Kernel } from "../../linux/kernel.ts";
import { makeNetworkNamespace } from "../../linux/network_namespace.ts";
import { ownIds } from "../../linux/own_ids.ts";
import { writeContainerFiles } from "../container_files.ts";
import { withNetworkNamespace } from "../namespace.ts";
import { callPlugin, type Result, ResultSchema } from "./call.ts";
import { type Configuration, ConfigurationSchema, findConfiguration } from "./configuration.ts";

export interface CniParts {
  readonly kernel: Kernel;
  /** The folder of records: what of networks is in use, over the daemon's end and the machine's. */
  readonly records: string;
  /** The folder of the containers' own files. */
  readonly files: string;
  readonly configurations: string;
  readonly programs: readonly string[];
  readonly timeoutMs: number;
}

const interfaceName = "eth0";

/** What is written before the first plugin is called, so that all are told of the container's end, whoever sees it. */
const RecordSchema = v.strictObject({
  containerId: v.string(),
  configuration: ConfigurationSchema,
  /** Absent where it did not come to that. */
  result: v.optional(ResultSchema),
});
type Record = v.InferOutput<typeof RecordSchema>;

/**
 * Networks by the Container Network Interface: for each container, the programs of a configuration are called one after
 * another, and in reverse at its end. The daemon holds the network namespace by a descriptor.
 * @see https://github.com/containernetworking/cni/blob/spec-v1.0.0/SPEC.md
 */
export class CniNetwork implements Network, Disposable {
  readonly id = "cni";
  readonly #parts: CniParts;
  #ownChildren: Children | undefined;

  constructor(parts: CniParts) {
    this.#parts = parts;
  }

  apply(spec: Spec, settings: NetworkSettings): Spec {
    const details = { field: "network" };
    if (!ownIds(this.#parts.kernel).all) {
      throw new Failure(
        "failed_precondition",
        `cannot connect a container by network ${
          JSON.stringify(settings.network)
        }: the daemon, which an ordinary user ` +
          'runs, may not make interfaces of the machine: use "none" or "host", or run the daemon as root',
        { details },
      );
    }
    if (settings.egress) {
      throw new Failure(
        "invalid_argument",
        "cannot use egress: what a CNI network reaches is its configuration's to say",
        {
          details: { field: "egress" },
        },
      );
    }
    // What is wrong is told here, before anything is made; a container that is stored finds it again at its start.
    this.#find(settings);
    return withConnection(withNetworkNamespace(spec, true), settings);
  }

  async connect({ id, spec, settings }: ConnectOptions): Promise<Attachment> {
    const { kernel } = this.#parts;
    const configuration = this.#find(settings);
    await using undo = new AsyncDisposableStack();
    const networkNamespace = makeNetworkNamespace(kernel);
    undo.defer(() => void kernel.attempt("close", networkNamespace));
    const path = `/proc/${kernel.host.pid}/fd/${networkNamespace}`;
    let record: Record = { containerId: id, configuration };
    this.#write(record);
    undo.defer(() => this.#delete(record, path));
    const result = await this.#add(record, path);
    record = { ...record, result };
    this.#write(record);
    const addresses = result.ips.map(({ address }) => address.replace(/\/\d+$/, ""));
    const dns = settings.dns.length > 0 ? settings.dns : result.dns.nameservers ?? [];
    const files = writeContainerFiles(spec, {
      folder: join(this.#parts.files, id),
      addresses,
      settings: { ...settings, dns },
    });
    undo.defer(() => files.remove());
    const held = undo.move();
    return { spec: files.spec, networkNamespace, addresses, [Symbol.asyncDispose]: () => held.disposeAsync() };
  }

  async recover(): Promise<readonly string[]> {
    const { records, files } = this.#parts;
    rmSync(files, { recursive: true, force: true });
    const removed: string[] = [];
    const errors: unknown[] = [];
    for (const name of names(records)) {
      // One that was being written: the one before it, if there was one, still tells.
      if (name.endsWith(".new")) {
        rmSync(join(records, name));
        continue;
      }
      try {
        const text = readFileSync(join(records, name), "utf8");
        const record = parse(RecordSchema, JSON.parse(text), `cannot read ${JSON.stringify(name)}`);
        // The namespace went with the process that held it.
        await this.#delete(record, "");
        removed.push(record.containerId);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw several(errors, `${errors.length} ends of CNI networks are in use still`);
    return removed;
  }

  [Symbol.dispose](): void {
    this.#ownChildren?.close();
    this.#ownChildren = undefined;
  }

  get #children(): Children {
    return this.#ownChildren ??= new Children(this.#parts.kernel);
  }

  #find({ network }: NetworkSettings): Configuration {
    const name = network.slice(this.id.length + 1);
    if (name === "") {
      throw new Failure(
        "invalid_argument",
        'cannot use network "cni": want the name of a network behind it, cni:NAME',
        {
          details: { field: "network" },
        },
      );
    }
    const configuration = findConfiguration(this.#parts.configurations, name);
    for (const { type } of configuration.plugins) this.#program(type);
    return configuration;
  }

  /** @throws failed_precondition where no folder has it. */
  #program(type: string): string {
    const { kernel, programs } = this.#parts;
    const path = programs.map((folder) => findProgram(kernel, join(folder, type))).find((found) => found !== undefined);
    if (path !== undefined) return path;
    throw new Failure(
      "failed_precondition",
      `CNI plugin ${JSON.stringify(type)} is not in ${
        programs.join(", ")
      }: install it (Debian: containernetworking-plugins)`,
      { details: { field: "network" } },
    );
  }

  async #add(record: Record, path: string): Promise<Result> {
    let result: Result | undefined;
    for (const plugin of record.configuration.plugins) {
      result = await this.#call("ADD", record, plugin, { path, previous: result }) ?? result;
    }
    return result ?? { ips: [], dns: { nameservers: [] } };
  }

  /** Tells all plugins, in reverse, that the container is gone; each of them, whatever another says. */
  async #delete(record: Record, path: string): Promise<void> {
    const errors: unknown[] = [];
    for (const plugin of record.configuration.plugins.toReversed()) {
      try {
        await this.#call("DEL", record, plugin, { path, previous: record.result });
      } catch (error) {
        errors.push(error);
      }
    }
    // What is left is tried again by the next daemon.
    if (errors.length > 0) throw several(errors, "a CNI network was not left");
    rmSync(this.#recordFile(record.containerId), { force: true });
  }

  async #call(
    command: "ADD" | "DEL",
    { containerId, configuration: { cniVersion, name } }: Record,
    plugin: Configuration["plugins"][number],
    { path, previous }: { readonly path: string; readonly previous: Result | undefined },
  ): Promise<Result | undefined> {
    const { kernel, programs, timeoutMs } = this.#parts;
    // Which capabilities a plugin has is for the runtime to know: of this one it is asked for none.
    const { capabilities: _, ...own } = plugin;
    return await callPlugin({ kernel, children: this.#children, timeoutMs }, {
      command,
      program: this.#program(plugin.type),
      containerId,
      namespace: path,
      interfaceName,
      programs,
      input: { ...own, cniVersion, name, ...(previous === undefined ? {} : { prevResult: previous }) },
    });
  }

  #recordFile(id: string): string {
    return join(this.#parts.records, `${id}.json`);
  }

  #write(record: Record): void {
    const { records } = this.#parts;
    mkdirSync(records, { recursive: true, mode: 0o700 });
    const file = this.#recordFile(record.containerId);
    writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
}

function several(errors: readonly unknown[], what: string): AggregateError {
  return new AggregateError(errors, `${what}: ${errors.map(messageOf).join("; ")}`);
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Nobody has used such a network yet.
    return [];
  }
}
