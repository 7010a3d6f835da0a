async fn twice(outbox: outbox_sqlx::PostgresWriter, pool: sqlx::PgPool) {
    let transaction = outbox.begin(&pool).await.unwrap();
    transaction.commit().await.unwrap();
    transaction.commit().await.unwrap();
}

fn main() {}
