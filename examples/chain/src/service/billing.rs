//! Bills each order once: sea-orm with PostgreSQL, reads NATS, publishes to RabbitMQ.

use std::sync::Arc;

use anyhow::Result;
use outbox::seaorm::{SeaOrmInbox, SeaOrmStore, SeaOrmWriter};
use outbox::{HandlerError, OutboxMessage, Processed, handler};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, ConnectOptions, Database, DatabaseConnection};

use super::mishaps::{Mishaps, Observed};
use super::orders::BROKE;
use crate::events::{OrderBilled, OrderPlaced};
use crate::run::Run;

pub(crate) const NAME: &str = "billing";

/// The table, beside those of the outbox and the inbox. No key forbids to bill an order twice.
pub(crate) const TABLES: &str = "
    CREATE TABLE bills (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, total bigint NOT NULL
    )";

#[expect(unreachable_pub, reason = "the types that sea-orm derives are public, and so must this one be")]
mod bill {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "bills")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub order_id: i64,
        pub total: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

struct Billing {
    db: DatabaseConnection,
    inbox: SeaOrmInbox,
    mishaps: Mishaps,
}

pub(crate) async fn run(run: &Run, mishaps: &Mishaps) -> Result<()> {
    let options = ConnectOptions::new(run.database(NAME)?).sqlx_logging(false).to_owned();
    let db = Database::connect(options).await?;
    let store = Arc::new(SeaOrmStore::new(&db));

    let relay = super::relay(store.clone(), &run.publish_to_rabbitmq()).await?;
    let waker = relay.waker();
    // What a handler emits is on its way as soon as it has committed.
    let outbox = SeaOrmWriter::new().after_commit(move || waker.wake());
    let inbox = SeaOrmInbox::new(NAME)?.writing_to(outbox);

    let name = inbox.consumer().clone();
    let billing = handler(Billing { db, inbox, mishaps: mishaps.clone() }, bill);
    let billing = Observed::new(NAME, run, mishaps, billing)?;
    let broker = run.read_nats(NAME, &run.placed());
    let consumer = super::consumer(&name, &broker, 16, billing, store).await?;

    super::stop().await;
    consumer.shutdown().await?;
    relay.shutdown().await?;
    Ok(())
}

/// The bill, its event and the memory of the message: all or nothing.
async fn bill(billing: &Billing, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let OrderPlaced { order, customer, total } = message.decode()?;
    billing
        .inbox
        .process(&billing.db, message, async |tx| {
            if customer == BROKE {
                return Err(HandlerError::failed(format!("the card of {customer} is declined")));
            }
            let bill = bill::ActiveModel { order_id: Set(order), total: Set(total), ..Default::default() };
            bill.insert(&*tx).await?;
            tx.emit(&OrderBilled { order, total })?;
            billing.mishaps.maybe_fail()
        })
        .await
}
