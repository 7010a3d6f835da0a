use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::Pool;
use outbox_diesel::AsyncPostgresWriter;

async fn on_a_pool(outbox: AsyncPostgresWriter, pool: &mut Pool<AsyncPgConnection>) {
    let _ = outbox.begin(pool).await;
}

fn main() {}
