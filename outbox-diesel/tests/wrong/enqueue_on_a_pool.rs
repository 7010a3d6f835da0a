use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use outbox_core::OutboxMessage;
use outbox_diesel::PostgresWriter;

fn dual_write(pool: &mut Pool<ConnectionManager<PgConnection>>, message: &OutboxMessage) {
    PostgresWriter::new().enqueue(pool, message).unwrap();
}

fn main() {}
