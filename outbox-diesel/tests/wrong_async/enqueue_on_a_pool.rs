use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::Pool;
use outbox_core::OutboxMessage;
use outbox_diesel::AsyncPostgresWriter;

async fn dual_write(pool: &mut Pool<AsyncPgConnection>, message: &OutboxMessage) {
    AsyncPostgresWriter::new().enqueue(pool, message).await.unwrap();
}

fn main() {}
