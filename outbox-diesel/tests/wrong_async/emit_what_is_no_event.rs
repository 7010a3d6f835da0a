use diesel_async::AsyncPgConnection;
use outbox_diesel::AsyncPostgresWriter;

struct OrderPlaced;

async fn emit(outbox: AsyncPostgresWriter, connection: &mut AsyncPgConnection) {
    outbox.emit(connection, &OrderPlaced).await.unwrap();
}

fn main() {}
