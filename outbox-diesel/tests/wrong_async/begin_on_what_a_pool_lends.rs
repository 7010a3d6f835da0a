use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::Pool;
use outbox_diesel::AsyncPostgresWriter;

async fn on_a_guard(outbox: AsyncPostgresWriter, pool: Pool<AsyncPgConnection>) {
    let mut connection = pool.get().await.unwrap();
    let _ = outbox.begin(&mut connection).await;
}

fn main() {}
