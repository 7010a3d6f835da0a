use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage, OutboxStore};
use outbox_seaorm::{SeaOrmStore, SeaOrmWriter};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
    TransactionTrait,
};

use super::{Bare, Beside, Orm, Place, Worker, claim, delete, insert, names, update};

pub(crate) struct SeaOrm;

struct Session {
    database: DatabaseConnection,
    outbox: SeaOrmWriter,
    update: String,
    insert: String,
}

impl Orm for SeaOrm {
    fn name(&self) -> &'static str {
        "sea-orm"
    }

    fn worker<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Worker>>> {
        Box::pin(async move {
            let database = connect(url).await?;
            let outbox = SeaOrmWriter::with_names(&names()?);
            let session = Session { database, outbox, update: update(), insert: insert() };
            Ok(Box::new(session) as Box<dyn Worker>)
        })
    }

    fn store(&self, url: &str) -> Result<Arc<dyn OutboxStore>> {
        Ok(Arc::new(SeaOrmStore::from_url_with_names(url, names()?)?))
    }

    fn bare<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Bare>>> {
        Box::pin(async move { Ok(Box::new(Loop(connect(url).await?)) as Box<dyn Bare>) })
    }
}

async fn connect(url: &str) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Ok(Database::connect(options).await?)
}

/// A whole row.
#[derive(Debug)]
#[expect(dead_code, reason = "to read every column is the work that is measured")]
struct Row {
    seq: i64,
    id: uuid::Uuid,
    topic: String,
    ordering_key: Option<String>,
    event_type: Option<String>,
    schema_version: i64,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    correlation_id: Option<String>,
    content_type: String,
    headers: String,
    payload: Vec<u8>,
    created_at: i64,
    available_at: Option<i64>,
    max_attempts: Option<i64>,
}

impl Row {
    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            seq: row.try_get_by_index(0)?,
            id: row.try_get_by_index(1)?,
            topic: row.try_get_by_index(2)?,
            ordering_key: row.try_get_by_index(3)?,
            event_type: row.try_get_by_index(4)?,
            schema_version: row.try_get_by_index(5)?,
            aggregate_type: row.try_get_by_index(6)?,
            aggregate_id: row.try_get_by_index(7)?,
            correlation_id: row.try_get_by_index(8)?,
            content_type: row.try_get_by_index(9)?,
            headers: row.try_get_by_index(10)?,
            payload: row.try_get_by_index(11)?,
            created_at: row.try_get_by_index(12)?,
            available_at: row.try_get_by_index(13)?,
            max_attempts: row.try_get_by_index(14)?,
        })
    }
}

struct Loop(DatabaseConnection);

#[async_trait]
impl Bare for Loop {
    async fn drain(&mut self, messages: u32) -> Result<()> {
        let (claim, delete, mut place) = (claim(), delete(), Place::default());
        let statement = |sql: &str, values: Vec<sea_orm::Value>| {
            Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
        };
        while place.is_short_of(messages) {
            let rows = self.0.query_all_raw(statement(&claim, vec![place.cursor.into()])).await?;
            let rows = rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
            let (low, high) = place.read(&rows.iter().map(|row| row.seq).collect::<Vec<_>>())?;
            let delete = statement(&delete, vec![low.into(), high.into()]);
            place.drained += self.0.execute_raw(delete).await?.rows_affected();
            std::hint::black_box(rows);
        }
        Ok(())
    }
}

#[async_trait]
impl Worker for Session {
    async fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> Result<()> {
        let statement = |sql: &str, values: Vec<sea_orm::Value>| {
            Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
        };
        let tx = self.database.begin().await?;
        tx.execute_raw(statement(&self.update, vec![account.into()])).await?;
        match beside {
            Beside::Nothing => {}
            Beside::ByHand => {
                let values = vec![
                    (*message.id().as_uuid()).into(),
                    message.topic().as_str().into(),
                    message.ordering_key().map(OrderingKey::as_str).into(),
                    message.event_type().into(),
                    message.payload().to_vec().into(),
                ];
                tx.execute_raw(statement(&self.insert, values)).await?;
            }
            Beside::Outbox => self.outbox.enqueue(&tx, message).await?,
        }
        Ok(tx.commit().await?)
    }
}
