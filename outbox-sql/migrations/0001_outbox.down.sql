-- Drops the outbox. Fails at its first statements, by a number that is there already, while a message is in it: let the
-- relay deliver what waits, and replay or discard the dead letters.

INSERT INTO {outbox_migrations} (version, name) SELECT 1, 'messages are waiting' FROM {outbox_messages} LIMIT 1;
INSERT INTO {outbox_migrations} (version, name) SELECT 1, 'messages are deferred' FROM {outbox_deferred} LIMIT 1;
INSERT INTO {outbox_migrations} (version, name) SELECT 1, 'there are dead letters' FROM {outbox_dead_letters} LIMIT 1;

DROP TABLE {inbox_attempts};
DROP TABLE {inbox_messages};
DROP TABLE {outbox_requests};
DROP TABLE {outbox_relays};
DROP TABLE {outbox_shards};
DROP TABLE {outbox_dead_letters};
DROP TABLE {outbox_deferred};
DROP TABLE {outbox_messages};
DROP TABLE {outbox_migrations};
