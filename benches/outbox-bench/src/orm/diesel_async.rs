use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage, OutboxStore};
use outbox_diesel::{AsyncPostgresStore, AsyncPostgresWriter};

use super::diesel_row::{Row, seqs};
use super::{Bare, Beside, Orm, Place, Worker, claim, delete, insert, names, update};

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

    fn store(&self, url: &str) -> Result<Arc<dyn OutboxStore>> {
        Ok(Arc::new(AsyncPostgresStore::from_url_with_names(url, names()?)?))
    }

    fn bare<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Bare>>> {
        Box::pin(async move { Ok(Box::new(Loop(AsyncPgConnection::establish(url).await?)) as Box<dyn Bare>) })
    }
}

struct Loop(AsyncPgConnection);

#[async_trait]
impl Bare for Loop {
    async fn drain(&mut self, messages: u32) -> Result<()> {
        let (claim, delete, mut place) = (claim(), delete(), Place::default());
        while place.is_short_of(messages) {
            let claim = sql_query(claim.as_str()).bind::<BigInt, _>(place.cursor);
            let rows: Vec<Row> = claim.load(&mut self.0).await?;
            let (low, high) = place.read(&seqs(&rows))?;
            let delete = sql_query(delete.as_str()).bind::<BigInt, _>(low).bind::<BigInt, _>(high);
            place.drained += u64::try_from(delete.execute(&mut self.0).await?)?;
            std::hint::black_box(rows);
        }
        Ok(())
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
