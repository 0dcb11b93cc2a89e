import type { FunctionRecord } from "../../core/function.ts";
import type { Task } from "../../core/task.ts";
import type { ContainerNetworks } from "../../network/container_network.ts";
import { startFailed } from "../failures.ts";
import type { Beside, OwnEnvironment, Protocol, Server } from "../protocol.ts";
import { defaultRegion } from "./arn.ts";
import { LambdaServer, port } from "./lambda_server.ts";

/**
 * AWS Lambda's container images: the runtime inside asks for its events.
 * @see https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
 */
export class LambdaProtocol implements Protocol {
  readonly #networks: ContainerNetworks;

  constructor(networks: ContainerNetworks) {
    this.#networks = networks;
  }

  /** @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime */
  environment(record: FunctionRecord, own: OwnEnvironment): Readonly<Record<string, string>> {
    const { name, memoryBytes, minInstances } = record;
    const day = new Date().toISOString().slice(0, 10).replaceAll("-", "/");
    const handler = own.args.length > 1 ? own.args.at(-1) : undefined;
    const region = own.env.get("AWS_REGION") ?? defaultRegion;
    const defaults = {
      LAMBDA_TASK_ROOT: "/var/task",
      LAMBDA_RUNTIME_DIR: "/var/runtime",
      TZ: ":UTC",
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      ...(handler !== undefined && { _HANDLER: handler }),
    };
    return {
      ...Object.fromEntries(Object.entries(defaults).filter(([variable]) => !own.env.has(variable))),
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      AWS_LAMBDA_FUNCTION_NAME: name,
      AWS_LAMBDA_FUNCTION_VERSION: "$LATEST",
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(Math.floor(memoryBytes / 1024 / 1024)),
      AWS_LAMBDA_INITIALIZATION_TYPE: minInstances > 0 ? "provisioned-concurrency" : "on-demand",
      AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${name}`,
      AWS_LAMBDA_LOG_STREAM_NAME: `${day}/[$LATEST]${crypto.randomUUID().replaceAll("-", "")}`,
    };
  }

  concurrency(): number {
    return 1;
  }

  stopGraceMs({ reuse, stopGraceMs }: FunctionRecord): number {
    return reuse ? stopGraceMs : 0;
  }

  attach(task: Task, record: FunctionRecord, beside: Beside): Server {
    if (task.pid === undefined) throw startFailed(new Error("its runtime does not tell the process id"));
    return new LambdaServer(task, record, this.#networks.open(task.pid), beside);
  }
}
