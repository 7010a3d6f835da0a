struct OrderPlaced;

async fn emit(outbox: outbox_sqlx::PostgresWriter, connection: &mut sqlx::PgConnection) {
    outbox.emit(connection, &OrderPlaced).await.unwrap();
}

fn main() {}
