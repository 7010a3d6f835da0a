use outbox_core::{OutboxMessage, OutboxWriter};
use outbox_sqlx::PostgresWriter;

async fn dual_write(outbox: impl OutboxWriter<sqlx::PgPool>, pool: &mut sqlx::PgPool, message: &OutboxMessage) {
    outbox.enqueue(pool, message).await.unwrap();
}

async fn service(pool: &mut sqlx::PgPool, message: &OutboxMessage) {
    dual_write(PostgresWriter::new(), pool, message).await;
}

fn main() {}
