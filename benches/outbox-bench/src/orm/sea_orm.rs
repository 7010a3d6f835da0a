use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use outbox_core::{OrderingKey, OutboxMessage};
use outbox_seaorm::SeaOrmWriter;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait,
};

use super::{Beside, Orm, Worker, insert, names, update};

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
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).sqlx_logging(false);
            let database = Database::connect(options).await?;
            let outbox = SeaOrmWriter::with_names(&names()?);
            let session = Session { database, outbox, update: update(), insert: insert() };
            Ok(Box::new(session) as Box<dyn Worker>)
        })
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
