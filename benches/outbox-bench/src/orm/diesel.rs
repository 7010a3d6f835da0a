use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid};
use diesel::{Connection, PgConnection, QueryResult, RunQueryDsl, sql_query};
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage, OutboxStore};
use outbox_diesel::{PostgresStore, PostgresWriter};

use super::diesel_row::{Row, seqs};
use super::{Bare, Beside, Orm, Place, Worker, claim, delete, insert, names, update};

pub(crate) struct Diesel;

struct Session {
    /// Elsewhere while it works.
    state: Option<State>,
}

struct State {
    connection: PgConnection,
    outbox: PostgresWriter,
    update: String,
    insert: String,
}

impl Orm for Diesel {
    fn name(&self) -> &'static str {
        "diesel"
    }

    fn worker<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Worker>>> {
        let url = url.to_owned();
        Box::pin(async move {
            let connection = tokio::task::spawn_blocking(move || PgConnection::establish(&url)).await??;
            let outbox = PostgresWriter::with_names(&names()?);
            let state = State { connection, outbox, update: update(), insert: insert() };
            Ok(Box::new(Session { state: Some(state) }) as Box<dyn Worker>)
        })
    }

    fn store(&self, url: &str) -> Result<Arc<dyn OutboxStore>> {
        Ok(Arc::new(PostgresStore::from_url_with_names(url, names()?)?))
    }

    fn bare<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Bare>>> {
        let url = url.to_owned();
        Box::pin(async move {
            let connection = tokio::task::spawn_blocking(move || PgConnection::establish(&url)).await??;
            Ok(Box::new(Loop(Some(connection))) as Box<dyn Bare>)
        })
    }
}

/// Its connection is elsewhere while it works.
struct Loop(Option<PgConnection>);

#[async_trait]
impl Bare for Loop {
    async fn drain(&mut self, messages: u32) -> Result<()> {
        let mut connection = self.0.take().expect("it comes back");
        let work = move || drain(&mut connection, messages).map(|()| connection);
        self.0 = Some(tokio::task::spawn_blocking(work).await??);
        Ok(())
    }
}

fn drain(connection: &mut PgConnection, messages: u32) -> Result<()> {
    let (claim, delete, mut place) = (claim(), delete(), Place::default());
    while place.is_short_of(messages) {
        let rows: Vec<Row> = sql_query(claim.as_str()).bind::<BigInt, _>(place.cursor).load(connection)?;
        let (low, high) = place.read(&seqs(&rows))?;
        let delete = sql_query(delete.as_str()).bind::<BigInt, _>(low).bind::<BigInt, _>(high);
        place.drained += u64::try_from(delete.execute(connection)?)?;
        std::hint::black_box(rows);
    }
    Ok(())
}

#[async_trait]
impl Worker for Session {
    async fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> Result<()> {
        let mut state = self.state.take().expect("it comes back");
        let message = message.clone();
        let work = move || {
            let done = state.transaction(account, &message, beside);
            (state, done)
        };
        let (state, done) = tokio::task::spawn_blocking(work).await?;
        self.state = Some(state);
        Ok(done?)
    }
}

impl State {
    fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> QueryResult<()> {
        let Self { connection, outbox, update, insert } = self;
        connection.transaction(|connection| {
            sql_query(update.as_str()).bind::<BigInt, _>(account).execute(connection)?;
            match beside {
                Beside::Nothing => Ok(()),
                Beside::ByHand => sql_query(insert.as_str())
                    .bind::<Uuid, _>(*message.id().as_uuid())
                    .bind::<Text, _>(message.topic().as_str())
                    .bind::<Nullable<Text>, _>(message.ordering_key().map(OrderingKey::as_str))
                    .bind::<Text, _>(message.event_type())
                    .bind::<Binary, _>(&message.payload()[..])
                    .execute(connection)
                    .map(drop),
                Beside::Outbox => outbox.enqueue(connection, message),
            }
        })
    }
}
