-- The outbox in MySQL (from 8.0.16) and MariaDB (from 10.6). The table a message is in is its state: outbox_messages
-- (waiting), outbox_deferred (waits for a time or for another message), outbox_dead_letters (given up). Delivered
-- messages are deleted.
--
-- Any program may write to the outbox, in the transaction of its own data:
--   INSERT INTO outbox_messages (id, topic, ordering_key, payload)
--   VALUES (UNHEX(REPLACE(UUID(), '-', '')), 'orders.placed', 'order-7', '{}');
--
-- All times are UTC, whatever the session's time zone. Text is compared byte by byte. Every statement can be run again:
-- these databases commit each of them on its own.

CREATE TABLE IF NOT EXISTS {outbox_migrations} (
    version INT NOT NULL PRIMARY KEY,
    name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    applied_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Append and delete only. No index but the primary key: each one costs every producer, and the relay reads along seq.
CREATE TABLE IF NOT EXISTS {outbox_messages} (
    seq BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id BINARY(16) NOT NULL,
    topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (LENGTH(topic) >= 1),
    -- UTF-8. Messages with the same key are delivered in the order of seq. Bytes, because every text type that both
    -- databases have ignores blanks at the end.
    ordering_key VARBINARY(512) NULL CHECK (LENGTH(ordering_key) >= 1),
    -- Null: the topic.
    event_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL CHECK (LENGTH(event_type) <= 255),
    schema_version INT NOT NULL DEFAULT 1 CHECK (schema_version >= 1),
    aggregate_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL CHECK (LENGTH(aggregate_type) <= 255),
    aggregate_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL CHECK (LENGTH(aggregate_id) <= 255),
    correlation_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL CHECK (LENGTH(correlation_id) <= 255),
    content_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT 'application/octet-stream'
        CHECK (LENGTH(content_type) <= 255),
    -- An object of strings.
    headers JSON NOT NULL DEFAULT ('{}')
        CHECK (LENGTH(headers) <= 131072 AND JSON_VALID(headers) AND JSON_TYPE(headers) = 'OBJECT'),
    payload LONGBLOB NOT NULL CHECK (LENGTH(payload) <= 16777216),
    -- For people. Never order by it: it says nothing about the order of commits.
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    -- Not before this time (UTC). Null: now.
    available_at DATETIME(6) NULL,
    -- Where it differs from the relay's policy.
    max_attempts INT NULL CHECK (max_attempts BETWEEN 1 AND 1000)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS {outbox_deferred} (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- The number the row had in outbox_messages: its place in the order of its key.
    seq BIGINT NOT NULL,
    id BINARY(16) NOT NULL,
    topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ordering_key VARBINARY(512) NULL,
    event_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    schema_version INT NOT NULL,
    aggregate_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    aggregate_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    correlation_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    content_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    headers JSON NOT NULL,
    payload LONGBLOB NOT NULL,
    created_at DATETIME(6) NOT NULL,
    available_at DATETIME(6) NULL,
    max_attempts INT NULL,
    -- Either it waits for this time, delayed (no attempts yet) or retrying (holding its key) ...
    due_at DATETIME(6) NULL,
    attempts INT NOT NULL DEFAULT 0,
    last_attempt_at DATETIME(6) NULL,
    last_error MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    -- ... or for this message, which its key stands still at.
    held_behind BINARY(16) NULL,
    deferred_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    KEY due (due_at, number),
    KEY ordering_key (ordering_key, seq),
    -- Operators and requests name a message by its id.
    KEY id (id),
    CHECK ((due_at IS NULL) <> (held_behind IS NULL))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE IF NOT EXISTS {outbox_dead_letters} (
    number BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    seq BIGINT NOT NULL,
    id BINARY(16) NOT NULL,
    topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    ordering_key VARBINARY(512) NULL,
    event_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    schema_version INT NOT NULL,
    aggregate_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    aggregate_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    correlation_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    content_type VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    headers JSON NOT NULL,
    payload LONGBLOB NOT NULL,
    created_at DATETIME(6) NOT NULL,
    available_at DATETIME(6) NULL,
    max_attempts INT NULL,
    reason VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    attempts INT NOT NULL DEFAULT 0,
    last_error MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    died_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    -- Set while its key is parked: the message that the key stopped at; its own id for that message.
    parked_behind BINARY(16) NULL,
    KEY id (id),
    KEY ordering_key (ordering_key, seq),
    KEY died_at (died_at, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The shards of the keys, and the relay that owns each. The number of rows is the number of shards.
CREATE TABLE IF NOT EXISTS {outbox_shards} (
    shard SMALLINT NOT NULL PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    -- Counts the owners; a relay with an older number can change nothing.
    epoch BIGINT NOT NULL DEFAULT 0,
    lease_until DATETIME(6) NULL,
    -- How often in a row an owner vanished instead of releasing it.
    unclean INT NOT NULL DEFAULT 0
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
INSERT IGNORE INTO {outbox_shards} (shard)
VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15);

CREATE TABLE IF NOT EXISTS {outbox_relays} (
    relay VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    label VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    started_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    last_seen DATETIME(6) NOT NULL,
    alive_until DATETIME(6) NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What operators asked for. The owner of the message's shard carries it out.
CREATE TABLE IF NOT EXISTS {outbox_requests} (
    message_id BINARY(16) NOT NULL PRIMARY KEY,
    action VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL CHECK (action IN ('replay', 'discard')),
    requested_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What consumers have seen. The name of a consumer is bytes, so that no two of them count as one.
CREATE TABLE IF NOT EXISTS {inbox_messages} (
    consumer VARBINARY(255) NOT NULL CHECK (LENGTH(consumer) >= 1),
    message_id BINARY(16) NOT NULL,
    processed_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (consumer, message_id),
    KEY processed_at (consumer, processed_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- What consumers have tried in vain, where nobody else counts.
CREATE TABLE IF NOT EXISTS {inbox_attempts} (
    consumer VARBINARY(255) NOT NULL CHECK (LENGTH(consumer) >= 1),
    message_id BINARY(16) NOT NULL,
    attempts INT NOT NULL CHECK (attempts >= 1),
    last_attempt_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (consumer, message_id),
    KEY last_attempt_at (consumer, last_attempt_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
