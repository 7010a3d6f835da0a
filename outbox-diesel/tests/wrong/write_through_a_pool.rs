use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use outbox_core::{BlockingOutboxWriter, OutboxMessage};
use outbox_diesel::PostgresWriter;

type PgPool = Pool<ConnectionManager<PgConnection>>;

fn dual_write(outbox: impl BlockingOutboxWriter<PgPool>, pool: &mut PgPool, message: &OutboxMessage) {
    outbox.enqueue(pool, message).unwrap();
}

fn service(pool: &mut PgPool, message: &OutboxMessage) {
    dual_write(PostgresWriter::new(), pool, message);
}

fn main() {}
