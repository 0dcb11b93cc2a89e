import { Hono } from "hono";
import * as v from "valibot";
import { parseDigest } from "../core/digest.ts";
import { Failure } from "../core/errors.ts";
import { demand } from "../core/task.ts";
import type { Containers } from "../tasks/containers.ts";
import type { ContainerRoot } from "../tasks/container_root.ts";
import { byteStream } from "./byte_stream.ts";
import { flagField, json, namespaceField, query } from "./input.ts";
import { FileAnswer, FileChangeAnswer, ImageAnswer, itemsOf } from "./answers.ts";
import { documented } from "./documented.ts";
import type { ApiParts } from "./parts.ts";

const scope = query(v.strictObject({ namespace: namespaceField }));
const pathField = v.pipe(v.string(), v.minLength(1), v.maxLength(4096));
const text = v.optional(v.pipe(v.string(), v.maxLength(4096)));
const archiveType = "application/x-tar";

/** What a container is committed as. */
const CommitInputSchema = v.strictObject({
  /** The image's name, with a tag. */
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  author: text,
  message: text,
  /** Dockerfile instructions, as `CMD ["/bin/sh"]` or `ENV A=1`. */
  changes: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(16 * 1024))), v.maxLength(256)), []),
  compression: v.optional(v.picklist(["gzip", "none"]), "gzip"),
  /** Nothing of the container runs meanwhile. */
  pause: v.optional(v.boolean(), true),
});

/** What a running container is written as. */
const CheckpointInputSchema = v.strictObject({
  /** The image's name, with a tag. */
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(512)),
  message: text,
  /** The container goes on. Default: it is killed when all is written. */
  leaveRunning: v.optional(v.boolean(), false),
  /** TCP connections are written, too. Default: they are an error. */
  tcpEstablished: v.optional(v.boolean(), false),
});

/** `/v1/containers/{id}/changes`, `/commit` and `/archive`: what a container wrote, and copying in and out. */
export function containerChangesRoutes({ containers, images }: ApiParts) {
  const committed = async (
    { snapshotter, snapshotKey = "", imageDigest = "", settings }: Awaited<ReturnType<Containers["get"]>>,
  ) => {
    const base = parseDigest(imageDigest);
    const { config } = await images.config(base);
    return {
      base,
      snapshotter,
      key: snapshotKey,
      config: committedConfig(settings, config.config?.Env ?? []),
      createdBy: settings.command?.join(" "),
    };
  };
  return new Hono()
    .get(
      "/:id/changes",
      documented("Lists what a container changed of its image.", { 200: itemsOf(FileChangeAnswer) }),
      scope,
      async (c) => {
        const { snapshotter, snapshotKey } = await containers.get(c.req.valid("query").namespace, c.req.param("id"));
        return c.json({ items: await images.diff(snapshotter, snapshotKey ?? "", { signal: c.req.raw.signal }) });
      },
    )
    .post(
      "/:id/commit",
      documented("Makes an image of a container.", { 201: ImageAnswer }),
      scope,
      json(CommitInputSchema),
      async (c) => {
        const { namespace } = c.req.valid("query");
        const { pause, ...settings } = c.req.valid("json");
        const container = await containers.get(namespace, c.req.param("id"));
        const options = { ...settings, ...await committed(container), signal: c.req.raw.signal };
        const commit = () => images.commit(namespace, options);
        return c.json(await (pause ? containers.whilePaused(namespace, container.id, commit) : commit()), 201);
      },
    )
    .post(
      "/:id/checkpoint",
      documented("Makes an image of a container as it runs, with what its processes have in memory.", {
        201: ImageAnswer,
      }, { problems: ["failed_precondition", "permission_denied", "unavailable", "unimplemented"] }),
      scope,
      json(CheckpointInputSchema),
      async (c) => {
        const { namespace } = c.req.valid("query");
        const { leaveRunning, tcpEstablished, ...settings } = c.req.valid("json");
        const container = await containers.get(namespace, c.req.param("id"));
        const { task } = await containers.live(namespace, container.id, "checkpoint");
        const checkpoints = demand(task, "checkpoint");
        return c.json(
          await images.checkpoint(namespace, {
            ...await committed(container),
            ...settings,
            dump: (folder, whileStopped) =>
              checkpoints.checkpoint({ folder, whileStopped, tcpEstablished, exit: !leaveRunning }),
          }),
          201,
        );
      },
    )
    // A tar archive of a file, or of a folder and all below it.
    .get(
      "/:id/archive",
      documented("Copies a file or folder out of a container, as a tar archive.", { 200: archiveType }, {
        problems: ["failed_precondition"],
      }),
      query(v.strictObject({ namespace: namespaceField, path: pathField })),
      async (c) => {
        const { namespace, path } = c.req.valid("query");
        const root = await containers.files(namespace, c.req.param("id"));
        const gone = new AbortController();
        try {
          const archive = await images.copyOut(root.fd, path, { signal: gone.signal, ids: root.ids });
          const body = byteStream(closing(archive, root), () => gone.abort());
          return c.body(body, 200, { "content-type": archiveType });
        } catch (error) {
          root[Symbol.dispose]();
          throw error;
        }
      },
    )
    .get(
      "/:id/archive/stat",
      documented("Describes a file of a container.", { 200: FileAnswer }),
      query(v.strictObject({ namespace: namespaceField, path: pathField })),
      async (c) => {
        const { namespace, path } = c.req.valid("query");
        using root = await containers.files(namespace, c.req.param("id"));
        const { modified, ...file } = images.describeFile(root.fd, path);
        return c.json({ ...file, modifiedAt: new Date(Number(modified.seconds) * 1000) });
      },
    )
    // Unpacks a tar archive (plain, gzip or zstd) into a folder of the container.
    .put(
      "/:id/archive",
      documented("Copies a tar archive (plain, gzip or zstd) into a folder of a container.", { 204: null }, {
        body: archiveType,
        problems: ["already_exists", "data_loss", "resource_exhausted"],
      }),
      query(v.strictObject({ namespace: namespaceField, path: pathField, noReplace: flagField })),
      async (c) => {
        const { namespace, path, noReplace } = c.req.valid("query");
        const { body, signal } = c.req.raw;
        if (body === null) {
          throw new Failure("invalid_argument", "cannot copy into a container: the body is no archive");
        }
        using root = await containers.files(namespace, c.req.param("id"));
        if (root.ids !== undefined) {
          throw new Failure(
            "failed_precondition",
            "cannot copy into a container that runs with users of its own: stop it, or pipe the archive into tar by exec",
          );
        }
        await images.copyIn(root.fd, path, body, { replace: !noReplace, signal });
        return c.body(null, 204);
      },
    );
}

/** What the container had others of than its image. */
function committedConfig(
  { command, args, env, user, workdir, labels }: {
    readonly command?: readonly string[] | undefined;
    readonly args?: readonly string[] | undefined;
    readonly env: Readonly<Record<string, string>>;
    readonly user?: string | undefined;
    readonly workdir?: string | undefined;
    readonly labels: Readonly<Record<string, string>>;
  },
  imageEnv: readonly string[],
) {
  const kept = imageEnv.filter((entry) => env[entry.slice(0, entry.indexOf("="))] === undefined);
  return {
    ...(command && { Entrypoint: command, Cmd: args }),
    ...(command === undefined && args && { Cmd: args }),
    Env: [...kept, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
    ...(user !== undefined && { User: user }),
    ...(workdir !== undefined && { WorkingDir: workdir }),
    ...(Object.keys(labels).length > 0 && { Labels: labels }),
  };
}

async function* closing(
  archive: AsyncIterable<Uint8Array<ArrayBuffer>>,
  root: ContainerRoot,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using _root = root;
  yield* archive;
}
