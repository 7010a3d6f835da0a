use outbox_core::OutboxMessage;
use outbox_sqlx::PostgresWriter;

async fn dual_write(pool: &mut sqlx::PgPool, message: &OutboxMessage) {
    PostgresWriter::new().enqueue(pool, message).await.unwrap();
}

fn main() {}
