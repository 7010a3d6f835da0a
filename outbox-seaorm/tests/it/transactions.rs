//! What the transaction suite needs to know about sea-orm.

use std::borrow::BorrowMut;

use async_trait::async_trait;
use outbox_conformance::transaction_suite::{
    Body, CountedHints, DatabaseSql, FixtureError, FixtureScope, OpenScope, PlainConnection,
    TransactionFixture,
};
use outbox_core::{OutboxMessage, TransactionPolicy};
use outbox_seaorm::OutboxTransaction;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};
use sea_orm::{ConnectionTrait, DbErr, Statement};

use crate::fixture::{Fixture, TestDatabase};

#[async_trait]
impl<DB: TestDatabase> TransactionFixture for Fixture<DB> {
    fn sql(&self) -> &'static DatabaseSql {
        DB::SQL
    }

    async fn begin(&self, policy: &TransactionPolicy) -> Result<Box<dyn OpenScope>, FixtureError> {
        let begun = self.writer.begin_with(&self.db, policy).await;
        Ok(Box::new(Scope(begun.map_err(FixtureError::database)?)))
    }

    async fn transaction(&self, policy: TransactionPolicy, body: Body) -> Result<(), FixtureError> {
        self.writer.transaction(&self.db, policy, async |tx| body(&mut Scope(tx)).await).await
    }

    fn commits(&self) -> usize {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn hints(&self) -> &CountedHints {
        &self.hints
    }

    async fn connect(&self) -> Box<dyn PlainConnection> {
        DB::acquire(&self.db).await
    }
}

/// A transaction, owned or borrowed.
pub(crate) struct Scope<T>(pub(crate) T);

#[async_trait]
impl<T: BorrowMut<OutboxTransaction> + Send> FixtureScope for Scope<T> {
    fn add(&mut self, message: OutboxMessage) {
        self.0.borrow_mut().add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Ok(self.0.borrow_mut().flush().await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        let tx = self.0.borrow_mut();
        tx.execute_unprepared(sql).await.map(drop).map_err(FixtureError::database)
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        number(self.0.borrow_mut(), sql).await.map_err(FixtureError::database)
    }
}

async fn number(tx: &OutboxTransaction, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(tx.get_database_backend(), sql);
    tx.query_one_raw(statement).await?.expect("there is a row").try_get_by(0)
}

#[async_trait]
impl OpenScope for Scope<OutboxTransaction> {
    async fn commit(self: Box<Self>) -> Result<(), FixtureError> {
        Ok(self.0.commit().await?)
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await;
    }
}

/// A connection of sea-orm's pool. sea-orm itself lends one only for a transaction.
pub(crate) struct Plain<DB: sqlx::Database>(pub(crate) PoolConnection<DB>);

macro_rules! plain_connection {
    ($feature:literal, $database:ty) => {
        #[cfg(feature = $feature)]
        #[async_trait]
        impl PlainConnection for Plain<$database> {
            async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
                let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                sql.execute(&mut *self.0).await.map(drop).map_err(FixtureError::database)
            }

            async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
                let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
                let row = sql.fetch_one(&mut *self.0).await.map_err(FixtureError::database)?;
                row.try_get(0).map_err(FixtureError::database)
            }
        }
    };
}

plain_connection!("postgres", sqlx::Postgres);
plain_connection!("mysql", sqlx::MySql);
plain_connection!("sqlite", sqlx::Sqlite);
