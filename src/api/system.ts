import { Hono } from "hono";
import { version } from "../version.ts";
import { InfoAnswer, itemsOf, PluginAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/info` and `/v1/plugins` */
export function systemRoutes({ host, info, plugins }: ApiParts) {
  return new Hono()
    .get("/info", documented("Describes the daemon.", { 200: InfoAnswer }), (c) => {
      const { name, version: hostVersion, arch, pid } = host;
      return c.json({ version, host: { name, version: hostVersion, arch }, pid, ...info });
    })
    .get(
      "/plugins",
      documented("Lists every plugin with its state.", { 200: itemsOf(PluginAnswer) }),
      (c) => c.json({ items: plugins() }),
    );
}
