use std::cell::RefCell;
use std::rc::Rc;

use outbox_core::TransactionPolicy;
use outbox_seaorm::{SeaOrmWriter, TransactionError};
use sea_orm::{ConnectionTrait, DatabaseConnection};

async fn body_without_send(outbox: SeaOrmWriter, db: DatabaseConnection) -> Result<(), TransactionError> {
    outbox
        .transaction(&db, TransactionPolicy::new(), async |tx| {
            let count = Rc::new(RefCell::new(0));
            tx.execute_unprepared("SELECT 1").await?;
            *count.borrow_mut() += 1;
            Ok::<_, TransactionError>(())
        })
        .await
}

fn main() {}
