use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage, OutboxStore};
use outbox_sqlx::{PostgresStore, PostgresWriter};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr, SqlStr};

use super::{Bare, Beside, Orm, Worker, insert, names, update};
use crate::database::NAME;
use crate::raw::{self, From};

pub(crate) struct Sqlx;

struct Session {
    connection: PgConnection,
    outbox: PostgresWriter,
    update: SqlStr,
    insert: SqlStr,
}

impl Orm for Sqlx {
    fn name(&self) -> &'static str {
        "sqlx"
    }

    fn worker<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Worker>>> {
        Box::pin(async move {
            let connection = PgConnection::connect(url).await?;
            let [update, insert] = [update(), insert()].map(|sql| AssertSqlSafe(sql).into_sql_str());
            let outbox = PostgresWriter::with_names(&names()?);
            Ok(Box::new(Session { connection, outbox, update, insert }) as Box<dyn Worker>)
        })
    }

    fn store(&self, url: &str) -> Result<Arc<dyn OutboxStore>> {
        Ok(Arc::new(PostgresStore::from_url_with_names(url, names()?)?))
    }

    fn bare<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Box<dyn Bare>>> {
        Box::pin(async move {
            let options = url.parse::<PgConnectOptions>()?.options([("search_path", NAME)]);
            Ok(Box::new(Loop(PgConnection::connect_with(&options).await?)) as Box<dyn Bare>)
        })
    }
}

struct Loop(PgConnection);

#[async_trait]
impl Bare for Loop {
    async fn drain(&mut self, messages: u32) -> Result<()> {
        raw::drain(&mut self.0, messages, From::Cursor).await.map(drop)
    }
}

#[async_trait]
impl Worker for Session {
    async fn transaction(&mut self, account: i64, message: &OutboxMessage, beside: Beside) -> Result<()> {
        let mut tx = self.connection.begin().await?;
        sqlx::query(self.update.clone()).bind(account).execute(&mut *tx).await?;
        match beside {
            Beside::Nothing => {}
            Beside::ByHand => {
                sqlx::query(self.insert.clone())
                    .bind(message.id().as_uuid())
                    .bind(message.topic().as_str())
                    .bind(message.ordering_key().map(OrderingKey::as_str))
                    .bind(message.event_type())
                    .bind(&message.payload()[..])
                    .execute(&mut *tx)
                    .await?;
            }
            Beside::Outbox => self.outbox.enqueue(&mut tx, message).await?,
        }
        Ok(tx.commit().await?)
    }
}
