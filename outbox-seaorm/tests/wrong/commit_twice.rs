async fn twice(outbox: outbox_seaorm::SeaOrmWriter, db: sea_orm::DatabaseConnection) {
    let transaction = outbox.begin(&db).await.unwrap();
    transaction.commit().await.unwrap();
    transaction.commit().await.unwrap();
}

fn main() {}
