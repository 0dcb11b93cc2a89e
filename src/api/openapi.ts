import { type ConversionConfig, type JsonSchema, toJsonSchema, toJsonSchemaDefs } from "@valibot/to-json-schema";
import type { Hono } from "hono";
import type * as v from "valibot";
import type { ErrorCode } from "../core/errors.ts";
import { version } from "../version.ts";
import { namedAnswers } from "./answers.ts";
import { type AnswerBody, descriptionOf, type RouteDescription } from "./documented.ts";
import { statuses, titles } from "./errors.ts";
import { needOf } from "./scopes.ts";

/** Made of the schemas that requests are parsed by. What only code can check (`v.check`) is left out. */
const conversion = {
  target: "draft-2020-12",
  typeMode: "input",
  errorMode: "ignore",
  definitions: namedAnswers,
  overrideRef: ({ referenceId }) => `#/components/schemas/${referenceId}`,
} as const satisfies ConversionConfig;

const problem = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
/** `/fn/…` and `/async/fn/…` take them all. */
const anyMethod = ["GET", "POST", "PUT", "PATCH", "DELETE"];

type Operation = Readonly<Record<string, unknown>>;

/**
 * Describes the API.
 * @param routes those of the app: each handler carries a part of its route's description.
 * @see https://spec.openapis.org/oas/v3.1.0
 */
export function openApiDocument(routes: Hono["routes"]) {
  const operations = Map.groupBy(
    routes.filter(({ path }) => !isForeign(path)).filter(({ method, path, handler }) =>
      method !== "ALL" || /^(\/async)?\/fn\//.test(path) && isDescribed(handler)
    ),
    ({ method, path }) => `${method} ${path}`,
  );
  const paths: Record<string, Record<string, Operation>> = {};
  for (const [key, handlers] of operations) {
    const [method = "", path = ""] = key.split(" ");
    const description = handlers.reduce<RouteDescription>(
      (all, { handler }) => ({ ...all, ...descriptionOf(handler) }),
      {},
    );
    const at = paths[templateOf(path)] ??= {};
    for (const verb of method === "ALL" ? anyMethod : [method]) {
      at[verb.toLowerCase()] = operation(verb, path, description);
    }
  }
  return {
    openapi: "3.1.0",
    info: { title: "Mayfly", version, description: "Containerized jobs over HTTP." },
    paths,
    components: {
      schemas: toJsonSchemaDefs(namedAnswers, conversion),
      securitySchemes: {
        token: {
          type: "http",
          scheme: "bearer",
          description: "Over TCP, of the named scope; the Unix socket wants none, nor do functions without `auth`.",
        },
      },
    },
  };
}

/** Paths of APIs that are others', and described there: AWS's begin with a date, OpenFaaS's with its words. */
function isForeign(path: string): boolean {
  return /^\/(?:\d{4}-\d{2}-\d{2}|system|function|async-function)\//.test(path);
}

function isDescribed(handler: object): boolean {
  return descriptionOf(handler).summary !== undefined;
}

function operation(method: string, path: string, description: RouteDescription): Operation {
  const { summary, answers = {}, json, body, problems = [] } = description;
  const parameters = [...pathParameters(path), ...queryParameters(description), ...headerParameters(description)];
  const bodyTaken = !["GET", "DELETE"].includes(method) && (json !== undefined || body !== undefined);
  return {
    operationId: operationId(method, path),
    tags: [path.split("/").find((part) => part !== "" && part !== "v1") ?? "root"],
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(bodyTaken && {
      requestBody: json === undefined
        ? { content: { [body as string]: {} } }
        : { required: true, content: { "application/json": { schema: schemaOf(json) } } },
    }),
    security: securityOf(method, path),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, answer]) => [status, answerOf(Number(status), answer)]),
      ),
      ...problemAnswers(codesOf(path, description, problems)),
      default: { description: "What went wrong.", content: problem },
    },
  };
}

/** The scope that the token has to have; who may open the socket needs none. */
function securityOf(method: string, path: string): readonly Operation[] {
  if (path === "/healthz") return [];
  return [{ token: [/^(\/async)?\/fn\/|^\/async\//.test(path) ? "invoke" : needOf(method, path).scope] }, {}];
}

function answerOf(status: number, answer: AnswerBody): Operation {
  const description = successes[status] ?? `${status}`;
  if (answer === null) return { description };
  const types = typeof answer === "string" ? [answer] : answer;
  const content = isList(types)
    ? Object.fromEntries(types.map((type) => [type, {}]))
    : { "application/json": { schema: schemaOf(types) } };
  return { description, content };
}

function isList(answer: v.GenericSchema | readonly string[]): answer is readonly string[] {
  return Array.isArray(answer);
}

const successes: Readonly<Record<number, string>> = {
  101: "Switching Protocols: a WebSocket",
  200: "OK",
  201: "Created",
  204: "No Content",
};

/** What any route of its kind may refuse with, and what this one may. */
function codesOf(path: string, { query, json }: RouteDescription, own: readonly ErrorCode[]): ReadonlySet<ErrorCode> {
  const codes = new Set(own);
  if (path.startsWith("/v1") || path === "/metrics") codes.add("unauthenticated").add("permission_denied");
  if (path.includes(":")) codes.add("not_found");
  if (query !== undefined || json !== undefined) codes.add("invalid_argument");
  return codes;
}

function problemAnswers(codes: ReadonlySet<ErrorCode>): Record<string, Operation> {
  const byStatus = Map.groupBy([...codes].sort(), (code) => statuses[code]);
  return Object.fromEntries(
    [...byStatus].map(([status, named]) => [
      String(status),
      { description: `${titles[status]}: ${named.join(", ")}`, content: problem },
    ]),
  );
}

function pathParameters(path: string): Operation[] {
  return [...templateOf(path).matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function queryParameters({ query, jsonQuery = {} }: RouteDescription): Operation[] {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = schemaOf(query);
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name),
    ...(jsonQuery[name] === undefined
      ? { schema: listOrItself(schema) }
      : { content: { "application/json": { schema: schemaOf(jsonQuery[name]) } } }),
  }));
}

function headerParameters({ headers = {} }: RouteDescription): Operation[] {
  return Object.entries(headers).map(([name, description]) => ({
    name,
    in: "header",
    description,
    schema: { type: "string" },
  }));
}

/** A field that may be given once or several times is a list here. */
function listOrItself(schema: JsonSchema | boolean): JsonSchema | boolean {
  if (typeof schema === "boolean") return schema;
  const list = schema.anyOf?.find((one) => typeof one === "object" && one.type === "array");
  return list ?? schema;
}

function schemaOf(schema: v.GenericSchema): JsonSchema {
  const { $schema: _dialect, $defs: _named, ...rest } = toJsonSchema(schema, conversion);
  return rest;
}

/** `/v1/tasks/:id` → `/v1/tasks/{id}` */
function templateOf(path: string): string {
  const template = path.replace(/:(\w+)/g, "{$1}").replace(/\/\*$/, "/{path}");
  return template.length > 1 ? template.replace(/\/$/, "") : template;
}

/** `POST /v1/tasks/:id/kill` → `postTasksIdKill` */
function operationId(method: string, path: string): string {
  const words = templateOf(path).replace(/^\/v1/, "").split(/[^A-Za-z0-9]+/).filter((word) => word !== "");
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
}
