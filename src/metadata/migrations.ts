/**
 * How the schema came about, one entry per version, applied in order. An entry that has been released is never changed: what
 * is new is a new entry at the end.
 */
export const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE namespaces (
      name text PRIMARY KEY NOT NULL,
      labels text NOT NULL,
      created_at integer NOT NULL
    )`,
    `CREATE TABLE images (
      namespace text NOT NULL REFERENCES namespaces (name),
      name text NOT NULL,
      target text NOT NULL,
      labels text NOT NULL,
      created_at integer NOT NULL,
      updated_at integer NOT NULL,
      PRIMARY KEY (namespace, name)
    )`,
    `CREATE TABLE functions (
      namespace text NOT NULL REFERENCES namespaces (name),
      name text NOT NULL,
      digest text NOT NULL,
      revision integer NOT NULL,
      settings text NOT NULL,
      created_at integer NOT NULL,
      updated_at integer NOT NULL,
      PRIMARY KEY (namespace, name)
    )`,
    `CREATE TABLE containers (
      namespace text NOT NULL,
      id text NOT NULL,
      image text,
      runtime text NOT NULL,
      snapshotter text NOT NULL,
      snapshot_key text,
      spec text NOT NULL,
      labels text NOT NULL,
      created_at integer NOT NULL,
      PRIMARY KEY (namespace, id)
    )`,
    `CREATE TABLE snapshots (
      id integer PRIMARY KEY AUTOINCREMENT NOT NULL,
      snapshotter text NOT NULL,
      key text NOT NULL,
      kind text NOT NULL,
      parent_id integer REFERENCES snapshots (id),
      created_at integer NOT NULL,
      CONSTRAINT snapshots_key UNIQUE (snapshotter, key)
    )`,
    `CREATE INDEX snapshots_parent ON snapshots (parent_id)`,
    `CREATE TABLE leases (
      id text PRIMARY KEY NOT NULL,
      namespace text NOT NULL,
      expires_at integer NOT NULL,
      labels text NOT NULL
    )`,
    `CREATE TABLE lease_resources (
      lease_id text NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
      resource text NOT NULL,
      PRIMARY KEY (lease_id, resource)
    )`,
    `CREATE TABLE invocations (
      id text PRIMARY KEY NOT NULL,
      namespace text NOT NULL,
      function text NOT NULL,
      revision integer NOT NULL,
      status text NOT NULL,
      started_at integer NOT NULL,
      duration_ms real,
      exit_code integer,
      error text,
      stderr text,
      cpu_micros integer,
      memory_peak_bytes integer,
      request_bytes integer NOT NULL,
      response_bytes integer NOT NULL,
      trace_id text,
      phases text NOT NULL
    )`,
    `CREATE INDEX invocations_function ON invocations (namespace, function, id)`,
  ],
  [
    `ALTER TABLE snapshots ADD COLUMN labels text NOT NULL DEFAULT '{}'`,
    `ALTER TABLE snapshots ADD COLUMN updated_at integer NOT NULL DEFAULT 0`,
    `UPDATE snapshots SET updated_at = created_at`,
  ],
  [
    `ALTER TABLE containers ADD COLUMN name text`,
    `ALTER TABLE containers ADD COLUMN image_digest text`,
    `ALTER TABLE containers ADD COLUMN settings text`,
    `ALTER TABLE containers ADD COLUMN state text`,
    `CREATE UNIQUE INDEX containers_name ON containers (namespace, name)`,
  ],
  [
    `CREATE TABLE registry_manifests (
      namespace text NOT NULL,
      repository text NOT NULL,
      digest text NOT NULL,
      media_type text NOT NULL,
      size integer NOT NULL,
      artifact_type text,
      subject text,
      annotations text,
      refs text NOT NULL,
      used_at integer NOT NULL,
      PRIMARY KEY (namespace, repository, digest)
    )`,
    `CREATE INDEX registry_manifests_subject ON registry_manifests (namespace, repository, subject)`,
    `CREATE INDEX registry_manifests_digest ON registry_manifests (digest)`,
    `CREATE TABLE registry_blobs (
      namespace text NOT NULL,
      repository text NOT NULL,
      digest text NOT NULL,
      used_at integer NOT NULL,
      PRIMARY KEY (namespace, repository, digest)
    )`,
    `CREATE INDEX registry_blobs_digest ON registry_blobs (digest, namespace)`,
  ],
  [
    `CREATE TABLE id_ranges (namespace text PRIMARY KEY NOT NULL, first integer NOT NULL)`,
    `CREATE UNIQUE INDEX id_ranges_first ON id_ranges (first)`,
  ],
  [
    `CREATE TABLE calls (
      id text PRIMARY KEY NOT NULL,
      namespace text NOT NULL,
      function text NOT NULL,
      status text NOT NULL,
      attempts integer NOT NULL,
      created_at integer NOT NULL,
      due_at integer NOT NULL,
      finished_at integer,
      error text,
      invocation text,
      request text NOT NULL,
      body blob,
      content_type text,
      answer blob
    )`,
    `CREATE INDEX calls_due ON calls (status, namespace, function, due_at)`,
    `CREATE INDEX calls_function ON calls (namespace, function, id)`,
  ],
  [
    `CREATE TABLE secrets (
      namespace text NOT NULL REFERENCES namespaces (name),
      name text NOT NULL,
      sealed blob NOT NULL,
      created_at integer NOT NULL,
      updated_at integer NOT NULL,
      PRIMARY KEY (namespace, name)
    )`,
  ],
  [
    `CREATE TABLE tokens (
      id text PRIMARY KEY NOT NULL,
      namespace text NOT NULL,
      name text NOT NULL,
      scopes text NOT NULL,
      hash text NOT NULL,
      created_at integer NOT NULL,
      expires_at integer,
      CONSTRAINT tokens_name UNIQUE (namespace, name)
    )`,
  ],
  [
    `CREATE TABLE revisions (
      namespace text NOT NULL,
      function text NOT NULL,
      revision integer NOT NULL,
      digest text NOT NULL,
      settings text NOT NULL,
      created_at integer NOT NULL,
      PRIMARY KEY (namespace, function, revision)
    )`,
    `INSERT INTO revisions SELECT namespace, name, revision, digest, settings, updated_at FROM functions`,
    `ALTER TABLE functions DROP COLUMN digest`,
    `ALTER TABLE functions DROP COLUMN settings`,
    `ALTER TABLE functions
      ADD COLUMN traffic text NOT NULL DEFAULT '{"split":[{"revision":"latest","percent":100}],"tags":{}}'`,
  ],
  [
    `ALTER TABLE calls ADD COLUMN callback_url text`,
    `ALTER TABLE calls ADD COLUMN callback_status text`,
    `ALTER TABLE calls ADD COLUMN callback_attempts integer NOT NULL DEFAULT 0`,
    `ALTER TABLE calls ADD COLUMN callback_due_at integer`,
    `ALTER TABLE calls ADD COLUMN callback_error text`,
    `CREATE INDEX calls_callback ON calls (callback_status, callback_due_at)`,
  ],
  [`ALTER TABLE tokens ADD COLUMN rate text`],
  [
    // Of those before, nobody knows.
    `ALTER TABLE revisions ADD COLUMN answered integer NOT NULL DEFAULT 1`,
  ],
  [
    `CREATE TABLE schedule_marks (
      namespace text NOT NULL,
      function text NOT NULL,
      key text NOT NULL,
      at integer NOT NULL,
      PRIMARY KEY (namespace, function, key)
    )`,
  ],
  [
    `CREATE TABLE queue_messages (
      seq integer PRIMARY KEY AUTOINCREMENT NOT NULL,
      id text NOT NULL,
      namespace text NOT NULL,
      name text NOT NULL,
      held integer NOT NULL,
      due_at integer NOT NULL,
      deliveries integer NOT NULL,
      data blob NOT NULL,
      CONSTRAINT queue_messages_id UNIQUE (id)
    )`,
    `CREATE INDEX queue_messages_due ON queue_messages (namespace, name, held, due_at)`,
    `CREATE INDEX queue_messages_held ON queue_messages (held) WHERE held = 1`,
    // What waits has been in the calls; a message is a line of JSON, and the body.
    `INSERT INTO queue_messages (id, namespace, name, held, due_at, deliveries, data)
      SELECT id || '.' || created_at, namespace, function, 0, due_at, 0, CAST(json_object(
        'id', id, 'namespace', namespace, 'function', function, 'createdAt', created_at, 'callback', callback_url,
        'hasBody', json(iif(body IS NULL, 'false', 'true')), 'request', json(request)
      ) || char(10) || coalesce(body, '') AS BLOB)
      FROM calls WHERE status IN ('queued', 'running') ORDER BY due_at, id`,
    `UPDATE calls SET body = NULL WHERE status IN ('queued', 'running')`,
    `DROP INDEX calls_due`,
    `CREATE INDEX calls_status ON calls (status, namespace, id)`,
  ],
  [
    `DROP INDEX calls_callback`,
    `CREATE INDEX calls_callback ON calls (callback_status, callback_due_at) WHERE callback_status IS NOT NULL`,
  ],
];
