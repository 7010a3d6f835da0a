use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox_diesel::AsyncPostgresWriter;

async fn outside(outbox: AsyncPostgresWriter, mut connection: AsyncPgConnection) {
    let transaction = outbox.begin(&mut connection).await.unwrap();
    diesel::sql_query("UPDATE stock SET left = 0").execute(&mut connection).await.unwrap();
    transaction.commit().await.unwrap();
}

fn main() {}
