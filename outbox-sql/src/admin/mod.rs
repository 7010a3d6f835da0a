//! The operator's side: nothing here is on the path of a message, so texts are made when they are needed.

mod version;

mod migrate;

mod catalog;
mod schema_check;
mod shape;

mod dead_letters;
mod diagnose;
mod inbox;
mod requests;
mod shard_count;
mod stats;

use async_trait::async_trait;
use outbox_core::{
    DeadLetter, DeadLetterQuery, Finding, MessageId, Migration, OperatorAction, OutboxAdmin, OutboxStats,
    SchemaDrift, StoreError,
};

use crate::vocabulary::Vocabulary;
use crate::{Dialect, Driver, Row, Session, SqlStore, Statement, Table, TableNames, Value};

/// The database as an operator needs it.
pub(crate) struct Admin<'a> {
    driver: &'a dyn Driver,
    words: &'a Vocabulary,
    names: &'a TableNames,
}

impl Admin<'_> {
    fn dialect(&self) -> Dialect {
        self.words.dialect
    }

    /// The name of a table, for SQL text.
    fn table(&self, table: Table) -> String {
        self.names.table(self.dialect(), table)
    }

    /// A statement whose parameters are written as `?`.
    fn statement<'v>(&self, sql: &str, values: Vec<Value<'v>>) -> Statement<'v> {
        Statement::once(self.words.text(sql), values)
    }

    async fn query(&self, sql: &str, values: Vec<Value<'_>>) -> Result<Vec<Row>, StoreError> {
        self.driver.query(Session::Control, self.statement(sql, values)).await
    }

    /// An id as it is bound.
    fn id(&self, id: &MessageId) -> Value<'static> {
        match self.dialect() {
            Dialect::Postgres => Value::Uuid(Some(*id.as_uuid())),
            Dialect::MySql | Dialect::Sqlite => Value::Bytes(Some(id.as_bytes().to_vec().into())),
        }
    }
}

impl<D: Driver> SqlStore<D> {
    pub(crate) fn admin(&self) -> Admin<'_> {
        Admin { driver: &self.driver, words: &self.words, names: &self.names }
    }
}

#[async_trait]
impl<D: Driver> OutboxAdmin for SqlStore<D> {
    async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        self.admin().migrate().await.map_err(|error| error.during("migrate"))
    }

    async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        self.admin().schema_check().await.map_err(|error| error.during("check the schema"))
    }

    async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError> {
        self.admin().stats(count_limit).await.map_err(|error| error.during("read the figures"))
    }

    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.admin().dead_letters(query).await.map_err(|error| error.during("list dead letters"))
    }

    async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        self.admin().request(ids, action).await.map_err(|error| error.during("request"))
    }

    async fn set_shard_count(&self, count: u8) -> Result<(), StoreError> {
        self.admin().set_shard_count(count).await.map_err(|error| error.during("set the shard count"))
    }

    async fn diagnose(&self) -> Vec<Finding> {
        self.admin().diagnose().await
    }

    async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        self.admin().waiting_topics(rows).await.map_err(|error| error.during("read the topics"))
    }
}
