use outbox_core::OutboxMessage;
use outbox_seaorm::SeaOrmWriter;

async fn dual_write(db: &sea_orm::DatabaseConnection, message: &OutboxMessage) {
    SeaOrmWriter::new().enqueue(db, message).await.unwrap();
}

fn main() {}
