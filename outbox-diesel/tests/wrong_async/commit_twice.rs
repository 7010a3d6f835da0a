use diesel_async::AsyncPgConnection;
use outbox_diesel::AsyncPostgresWriter;

async fn twice(outbox: AsyncPostgresWriter, connection: &mut AsyncPgConnection) {
    let transaction = outbox.begin(connection).await.unwrap();
    transaction.commit().await.unwrap();
    transaction.commit().await.unwrap();
}

fn main() {}
