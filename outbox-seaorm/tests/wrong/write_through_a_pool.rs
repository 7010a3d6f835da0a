use outbox_core::{OutboxMessage, OutboxWriter};
use outbox_seaorm::SeaOrmWriter;
use sea_orm::DatabaseConnection;

async fn dual_write<W: OutboxWriter<DatabaseConnection>>(
    outbox: W,
    db: &mut DatabaseConnection,
    message: &OutboxMessage,
) {
    outbox.enqueue(db, message).await.unwrap();
}

async fn service(db: &mut DatabaseConnection, message: &OutboxMessage) {
    dual_write(SeaOrmWriter::new(), db, message).await;
}

fn main() {}
