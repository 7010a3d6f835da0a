-- The outbox in SQLite (from 3.38). The table a message is in is its state: outbox_messages (waiting), outbox_deferred
-- (waits for a time or for another message), outbox_dead_letters (given up). Delivered messages are deleted.
--
-- Any program may write to the outbox, in the transaction of its own data:
--   INSERT INTO outbox_messages (id, topic, ordering_key, payload)
--   VALUES (randomblob(16), 'orders.placed', 'order-7', CAST('{}' AS BLOB));
--
-- All times are microseconds since 1970, UTC.

CREATE TABLE IF NOT EXISTS {outbox_migrations} (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER))
) STRICT;

-- Append and delete only. No index but the primary key: each one costs every producer, and the relay reads along seq.
CREATE TABLE {outbox_messages} (
    -- Without AUTOINCREMENT the highest number is given out again after its row was deleted.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL CHECK (length(id) = 16),
    topic TEXT NOT NULL CHECK (length(CAST(topic AS BLOB)) BETWEEN 1 AND 249),
    -- Messages with the same key are delivered in the order of seq.
    ordering_key TEXT CHECK (length(CAST(ordering_key AS BLOB)) BETWEEN 1 AND 512),
    -- Null: the topic.
    event_type TEXT CHECK (length(CAST(event_type AS BLOB)) <= 255),
    schema_version INTEGER NOT NULL DEFAULT 1 CHECK (schema_version BETWEEN 1 AND 2147483647),
    aggregate_type TEXT CHECK (length(CAST(aggregate_type AS BLOB)) <= 255),
    aggregate_id TEXT CHECK (length(CAST(aggregate_id AS BLOB)) <= 255),
    correlation_id TEXT CHECK (length(CAST(correlation_id AS BLOB)) <= 255),
    content_type TEXT NOT NULL DEFAULT 'application/octet-stream' CHECK (length(CAST(content_type AS BLOB)) <= 255),
    -- An object of strings.
    headers TEXT NOT NULL DEFAULT '{}'
        CHECK (length(CAST(headers AS BLOB)) <= 131072 AND json_valid(headers) AND json_type(headers) = 'object'),
    payload BLOB NOT NULL CHECK (length(payload) <= 16777216),
    -- For people. Never order by it: it says nothing about the order of commits.
    created_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    -- Not before this time. Null: now.
    available_at INTEGER,
    -- Where it differs from the relay's policy.
    max_attempts INTEGER CHECK (max_attempts BETWEEN 1 AND 1000)
) STRICT;

CREATE TABLE {outbox_deferred} (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The number the row had in outbox_messages: its place in the order of its key.
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    topic TEXT NOT NULL,
    ordering_key TEXT,
    event_type TEXT,
    schema_version INTEGER NOT NULL,
    aggregate_type TEXT,
    aggregate_id TEXT,
    correlation_id TEXT,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    available_at INTEGER,
    max_attempts INTEGER,
    -- Either it waits for this time, delayed (no attempts yet) or retrying (holding its key) ...
    due_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_attempt_at INTEGER,
    last_error TEXT,
    -- ... or for this message, which its key stands still at.
    held_behind BLOB,
    deferred_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    CHECK ((due_at IS NULL) <> (held_behind IS NULL))
) STRICT;
CREATE INDEX {index:outbox_deferred:due} ON {outbox_deferred} (due_at, number);
CREATE INDEX {index:outbox_deferred:ordering_key} ON {outbox_deferred} (ordering_key, seq);
-- Operators and requests name a message by its id.
CREATE INDEX {index:outbox_deferred:id} ON {outbox_deferred} (id);

CREATE TABLE {outbox_dead_letters} (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    topic TEXT NOT NULL,
    ordering_key TEXT,
    event_type TEXT,
    schema_version INTEGER NOT NULL,
    aggregate_type TEXT,
    aggregate_id TEXT,
    correlation_id TEXT,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    available_at INTEGER,
    max_attempts INTEGER,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    died_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    -- Set while its key is parked: the message that the key stopped at; its own id for that message.
    parked_behind BLOB
) STRICT;
CREATE INDEX {index:outbox_dead_letters:id} ON {outbox_dead_letters} (id);
CREATE INDEX {index:outbox_dead_letters:ordering_key} ON {outbox_dead_letters} (ordering_key, seq) WHERE parked_behind IS NOT NULL;
CREATE INDEX {index:outbox_dead_letters:died_at} ON {outbox_dead_letters} (died_at, number);

-- One shard: there is a single writer anyway.
CREATE TABLE {outbox_shards} (
    shard INTEGER PRIMARY KEY CHECK (shard = 0),
    owner TEXT,
    -- Counts the owners; a relay with an older number can change nothing.
    epoch INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER,
    -- How often in a row an owner vanished instead of releasing it.
    unclean INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO {outbox_shards} (shard) VALUES (0);

CREATE TABLE {outbox_relays} (
    relay TEXT NOT NULL PRIMARY KEY,
    label TEXT NOT NULL,
    started_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    last_seen INTEGER NOT NULL,
    alive_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What operators asked for. The owner of the message's shard carries it out.
CREATE TABLE {outbox_requests} (
    message_id BLOB NOT NULL PRIMARY KEY CHECK (length(message_id) = 16),
    action TEXT NOT NULL CHECK (action IN ('replay', 'discard')),
    requested_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER))
) STRICT, WITHOUT ROWID;

-- What consumers have seen.
CREATE TABLE {inbox_messages} (
    consumer TEXT NOT NULL CHECK (length(CAST(consumer AS BLOB)) BETWEEN 1 AND 255),
    message_id BLOB NOT NULL CHECK (length(message_id) = 16),
    processed_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    PRIMARY KEY (consumer, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX {index:inbox_messages:processed_at} ON {inbox_messages} (consumer, processed_at);

-- What consumers have tried in vain, where nobody else counts.
CREATE TABLE {inbox_attempts} (
    consumer TEXT NOT NULL CHECK (length(CAST(consumer AS BLOB)) BETWEEN 1 AND 255),
    message_id BLOB NOT NULL CHECK (length(message_id) = 16),
    attempts INTEGER NOT NULL CHECK (attempts >= 1),
    last_attempt_at INTEGER NOT NULL DEFAULT (CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)),
    PRIMARY KEY (consumer, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX {index:inbox_attempts:last_attempt_at} ON {inbox_attempts} (consumer, last_attempt_at);
