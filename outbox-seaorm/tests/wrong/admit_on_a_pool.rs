use outbox_core::{Admission, MessageId};
use outbox_seaorm::SeaOrmInbox;

async fn admitted_apart(db: &sea_orm::DatabaseConnection, inbox: SeaOrmInbox, id: &MessageId) -> Admission {
    inbox.admit(db, id).await.unwrap()
}

fn main() {}
