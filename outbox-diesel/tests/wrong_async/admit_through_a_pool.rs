use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::bb8::Pool;
use outbox_core::{InboxStore, MessageId};
use outbox_diesel::AsyncPostgresInbox;

type PgPool = Pool<AsyncPgConnection>;

async fn consume(inbox: impl InboxStore<PgPool>, pool: &mut PgPool, id: &MessageId) {
    let _ = inbox.admit(pool, id).await.unwrap();
}

async fn service(pool: &mut PgPool, id: &MessageId) {
    consume(AsyncPostgresInbox::new("billing").unwrap(), pool, id).await;
}

fn main() {}
