use anyhow::Result;
use async_trait::async_trait;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage};
use outbox_diesel::AsyncPostgresWriter;

use super::{Beside, Orm, Worker, insert, names, update};

pub(crate) struct DieselAsync;

struct Session {
    connection: AsyncPgConnection,
    outbox: AsyncPostgresWriter,
    update: String,
    insert: String,
}

impl Orm for DieselAsync {
    fn name(&self) -> &'static str {
        "diesel-async"
    }

    fn worker<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Worker>>> {
        Box::pin(async move {
            let connection = AsyncPgConnection::establish(url).await?;
            let outbox = AsyncPostgresWriter::with_names(&names()?);
            let session = Session { connection, outbox, update: update(), insert: insert() };
            Ok(Box::new(session) as Box<dyn Worker>)
        })
    }
}

#[async_trait]
impl Worker for Session {
    async fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> Result<()> {
        let Self { connection, outbox, update, insert } = self;
        let (outbox, update, insert) = (&*outbox, update.as_str(), insert.as_str());
        let work = async |connection: &mut AsyncPgConnection| {
            sql_query(update).bind::<BigInt, _>(account).execute(connection).await?;
            match beside {
                Beside::Nothing => Ok(()),
                Beside::ByHand => sql_query(insert)
                    .bind::<Uuid, _>(*message.id().as_uuid())
                    .bind::<Text, _>(message.topic().as_str())
                    .bind::<Nullable<Text>, _>(message.ordering_key().map(OrderingKey::as_str))
                    .bind::<Text, _>(message.event_type())
                    .bind::<Binary, _>(&message.payload()[..])
                    .execute(connection)
                    .await
                    .map(drop),
                Beside::Outbox => outbox.enqueue(connection, message).await,
            }
        };
        Ok(connection.transaction::<(), diesel::result::Error, _>(work).await?)
    }
}
