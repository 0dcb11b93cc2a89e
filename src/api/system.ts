import { Hono } from "hono";
import { version } from "../version.ts";
import type { ApiParts } from "./parts.ts";

/** `/v1/info` and `/v1/plugins` */
export function systemRoutes({ host, info, plugins }: ApiParts) {
  return new Hono()
    .get("/info", (c) => {
      const { name, version: hostVersion, arch, pid } = host;
      return c.json({ version, host: { name, version: hostVersion, arch }, pid, ...info });
    })
    .get("/plugins", (c) => c.json({ items: plugins() }));
}
