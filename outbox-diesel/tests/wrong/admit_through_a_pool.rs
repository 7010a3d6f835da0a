use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use outbox_core::{BlockingInboxStore, MessageId};
use outbox_diesel::PostgresInbox;

type PgPool = Pool<ConnectionManager<PgConnection>>;

fn consume(inbox: impl BlockingInboxStore<PgPool>, pool: &mut PgPool, id: &MessageId) {
    let _ = inbox.admit(pool, id).unwrap();
}

fn service(pool: &mut PgPool, id: &MessageId) {
    consume(PostgresInbox::new("billing").unwrap(), pool, id);
}

fn main() {}
