/**
 * The typed client: a container's life, each call with the types of the route that it asks. A misspelt path, parameter or
 * field of an answer does not compile.
 */
import { join } from "node:path";
import { createClient } from "../../src/api/client.ts";
import { currentHost } from "../../src/host/mod.ts";
import { makeImage } from "../minify/image.ts";
import { perform, Stage } from "../stage.ts";

await perform(async () => {
  const host = await currentHost();
  await using stage = await Stage.open(host);
  const layout = join(stage.folder, "layout");
  await makeImage(layout, "tool:latest");

  // Elsewhere: import { createClient } from "mayfly/client", and a socket or address of a daemon that runs.
  const { v1 } = createClient((request) => stage.daemon.fetch(request));
  await v1.images.import.$post({ query: {}, json: { path: layout, name: "tool:latest" } });
  const created = await v1.containers.$post({
    query: {},
    json: { image: "tool:latest", command: ["/esbuild", "--version"], labels: { example: "client" } },
  });
  if (!created.ok) throw new Error(await created.text());
  const { id, status, createdAt } = await created.json();
  console.log(`${id} is ${status} since ${new Date(createdAt).toLocaleTimeString()}`);

  const param = { id };
  await v1.containers[":id"].start.$post({ param, query: {} });
  const { exitCode } = await (await v1.containers[":id"].wait.$post({ param, query: {} })).json();
  const log = await (await v1.containers[":id"].logs.$get({ param, query: { tail: "1" } })).text();
  console.log(`it ended with exit code ${exitCode} and said: ${log.trim()}`);

  const { items } = await (await v1.containers.$get({ query: { all: "true", label: "example=client" } })).json();
  for (const { id } of items) await v1.containers[":id"].$delete({ param: { id }, query: {} });
  console.log(`${items.length} removed`);
});
