use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::Pool;
use outbox_core::{OutboxMessage, OutboxWriter};
use outbox_diesel::AsyncPostgresWriter;

type PgPool = Pool<AsyncPgConnection>;

async fn dual_write(outbox: impl OutboxWriter<PgPool>, pool: &mut PgPool, message: &OutboxMessage) {
    outbox.enqueue(pool, message).await.unwrap();
}

async fn service(pool: &mut PgPool, message: &OutboxMessage) {
    dual_write(AsyncPostgresWriter::new(), pool, message).await;
}

fn main() {}
