import { Hono } from "hono";
import * as v from "valibot";
import { maxSecretBytes } from "../core/secret_store.ts";
import { itemsOf, SecretAnswer } from "./answers.ts";
import { documented } from "./documented.ts";
import { namespaceField, query, readBytes } from "./input.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const value = { body: "application/octet-stream" } as const;

/** `/v1/secrets`: a value is a request's body, and in no answer. */
export function secretRoutes({ secrets }: ApiParts) {
  return new Hono()
    .get("/", documented("Lists secrets, without their values.", { 200: itemsOf(SecretAnswer) }), scope, async (c) => {
      return c.json({ items: await secrets.list(c.req.valid("query").namespace) });
    })
    .post(
      "/:name",
      documented("Makes a secret; its value is the body.", { 201: SecretAnswer }, {
        ...value,
        problems: ["already_exists", "resource_exhausted"],
      }),
      scope,
      async (c) => {
        const bytes = await readBytes(c, maxSecretBytes);
        return c.json(await secrets.create(c.req.valid("query").namespace, c.req.param("name"), bytes), 201);
      },
    )
    .put(
      "/:name",
      documented("Gives a secret that is there another value, which containers that run see, too.", {
        200: SecretAnswer,
      }, { ...value, problems: ["not_found", "resource_exhausted"] }),
      scope,
      async (c) => {
        const bytes = await readBytes(c, maxSecretBytes);
        return c.json(await secrets.update(c.req.valid("query").namespace, c.req.param("name"), bytes));
      },
    )
    .delete(
      "/:name",
      documented("Removes a secret that no function has.", { 204: null }, {
        problems: ["not_found", "failed_precondition"],
      }),
      scope,
      async (c) => {
        await secrets.remove(c.req.valid("query").namespace, c.req.param("name"));
        return c.body(null, 204);
      },
    );
}
