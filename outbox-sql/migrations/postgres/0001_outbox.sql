-- The outbox in PostgreSQL. The table a message is in is its state: outbox_messages (waiting), outbox_deferred (waits
-- for a time or for another message), outbox_dead_letters (given up). Delivered messages are deleted.
--
-- Any program may write to the outbox, in the transaction of its own data:
--   INSERT INTO outbox_messages (id, topic, ordering_key, payload) VALUES (gen_random_uuid(), 'orders.placed', 'order-7', '{}');

CREATE TABLE IF NOT EXISTS {outbox_migrations} (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Append and delete only. No index but the primary key: each one costs every producer, and the relay reads along seq.
CREATE TABLE {outbox_messages} (
    -- Never with a CACHE above 1: sessions would give out numbers out of order.
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL,
    topic text NOT NULL CHECK (octet_length(topic) BETWEEN 1 AND 249),
    -- Messages with the same key are delivered in the order of seq.
    ordering_key text CHECK (octet_length(ordering_key) BETWEEN 1 AND 512),
    -- Null: the topic.
    event_type text CHECK (octet_length(event_type) <= 255),
    schema_version integer NOT NULL DEFAULT 1 CHECK (schema_version >= 1),
    aggregate_type text CHECK (octet_length(aggregate_type) <= 255),
    aggregate_id text CHECK (octet_length(aggregate_id) <= 255),
    correlation_id text CHECK (octet_length(correlation_id) <= 255),
    content_type text NOT NULL DEFAULT 'application/octet-stream' CHECK (octet_length(content_type) <= 255),
    -- An object of strings.
    headers json NOT NULL DEFAULT '{}' CHECK (json_typeof(headers) = 'object' AND octet_length(headers::text) <= 131072),
    payload bytea NOT NULL CHECK (octet_length(payload) <= 16777216),
    -- For people. Never order by it: it says nothing about the order of commits.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(created_at)),
    -- Not before this time. Null: now. A row with a time that can't be computed with would fail every read.
    available_at timestamptz CHECK (isfinite(available_at)),
    -- Where it differs from the relay's policy.
    max_attempts integer CHECK (max_attempts BETWEEN 1 AND 1000)
) WITH (
    -- Every row is deleted soon: vacuum by count, not by share, and without pauses. TOAST has settings of its own.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 5000,
    toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE {outbox_deferred} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The number the row had in outbox_messages: its place in the order of its key.
    seq bigint NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    ordering_key text,
    event_type text,
    schema_version integer NOT NULL,
    aggregate_type text,
    aggregate_id text,
    correlation_id text,
    content_type text NOT NULL,
    headers json NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    available_at timestamptz,
    max_attempts integer,
    -- Either it waits for this time, delayed (no attempts yet) or retrying (holding its key) ...
    due_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_attempt_at timestamptz,
    last_error text,
    -- ... or for this message, which its key stands still at.
    held_behind uuid,
    deferred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((due_at IS NULL) <> (held_behind IS NULL))
) WITH (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    toast.autovacuum_vacuum_scale_factor = 0.01,
    toast.autovacuum_vacuum_threshold = 1000
);
CREATE INDEX ON {outbox_deferred} (due_at, number);
CREATE INDEX ON {outbox_deferred} (ordering_key, seq);
-- Operators and requests name a message by its id.
CREATE INDEX ON {outbox_deferred} (id);

CREATE TABLE {outbox_dead_letters} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    topic text NOT NULL,
    ordering_key text,
    event_type text,
    schema_version integer NOT NULL,
    aggregate_type text,
    aggregate_id text,
    correlation_id text,
    content_type text NOT NULL,
    headers json NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    available_at timestamptz,
    max_attempts integer,
    reason text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    died_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Set while its key is parked: the message that the key stopped at; its own id for that message.
    parked_behind uuid
);
CREATE INDEX ON {outbox_dead_letters} (id);
CREATE INDEX ON {outbox_dead_letters} (ordering_key, seq) WHERE parked_behind IS NOT NULL;
CREATE INDEX ON {outbox_dead_letters} (died_at, number);

-- The shards of the keys, and the relay that owns each. The number of rows is the number of shards.
CREATE TABLE {outbox_shards} (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    owner text,
    -- Counts the owners; a relay with an older number can change nothing.
    epoch bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    -- How often in a row an owner vanished instead of releasing it.
    unclean integer NOT NULL DEFAULT 0
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
INSERT INTO {outbox_shards} (shard) SELECT generate_series(0, 15);

CREATE TABLE {outbox_relays} (
    relay text PRIMARY KEY,
    label text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen timestamptz NOT NULL,
    alive_until timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- What operators asked for. The owner of the message's shard carries it out.
CREATE TABLE {outbox_requests} (
    message_id uuid PRIMARY KEY,
    action text NOT NULL CHECK (action IN ('replay', 'discard')),
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What consumers have seen.
CREATE TABLE {inbox_messages} (
    consumer text NOT NULL CHECK (octet_length(consumer) BETWEEN 1 AND 255),
    message_id uuid NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX ON {inbox_messages} (consumer, processed_at);

-- What consumers have tried in vain, where nobody else counts.
CREATE TABLE {inbox_attempts} (
    consumer text NOT NULL CHECK (octet_length(consumer) BETWEEN 1 AND 255),
    message_id uuid NOT NULL,
    attempts int NOT NULL CHECK (attempts >= 1),
    last_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX ON {inbox_attempts} (consumer, last_attempt_at);
