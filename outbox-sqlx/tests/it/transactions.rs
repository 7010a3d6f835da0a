//! What the transaction suite needs to know about sqlx.

use std::borrow::BorrowMut;
use std::marker::PhantomData;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use outbox_conformance::transaction_suite::{
    Body, CountedHints, DatabaseSql, FixtureError, FixtureScope, OpenScope, PlainConnection,
    TransactionFixture,
};
use outbox_core::{OutboxMessage, TransactionPolicy};
use outbox_sql::{Cell, Statement};
use outbox_sqlx::OutboxTransaction;
use sqlx::pool::PoolConnection;

use crate::fixture::{Fixture, TestDatabase, bound};

#[async_trait]
impl<DB: TestDatabase> TransactionFixture for Fixture<DB> {
    fn sql(&self) -> &'static DatabaseSql {
        DB::SQL
    }

    async fn begin(&self, policy: &TransactionPolicy) -> Result<Box<dyn OpenScope>, FixtureError> {
        let begun = self.writer.begin_with(&self.pool, policy).await;
        Ok(Box::new(Scope::new(begun.map_err(FixtureError::database)?)))
    }

    async fn transaction(&self, policy: TransactionPolicy, body: Body) -> Result<(), FixtureError> {
        self.writer.transaction(&self.pool, policy, async |tx| body(&mut Scope::new(tx)).await).await
    }

    fn commits(&self) -> usize {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn hints(&self) -> &CountedHints {
        &self.hints
    }

    async fn connect(&self) -> Box<dyn PlainConnection> {
        Box::new(Plain(self.pool.acquire().await.unwrap()))
    }
}

/// A transaction, owned or borrowed.
pub(crate) struct Scope<DB, T> {
    transaction: T,
    database: PhantomData<fn() -> DB>,
}

impl<DB: TestDatabase, T: BorrowMut<OutboxTransaction<DB>>> Scope<DB, T> {
    pub(crate) fn new(transaction: T) -> Self {
        Self { transaction, database: PhantomData }
    }
}

#[async_trait]
impl<DB: TestDatabase, T: BorrowMut<OutboxTransaction<DB>> + Send> FixtureScope for Scope<DB, T> {
    fn add(&mut self, message: OutboxMessage) {
        self.transaction.borrow_mut().add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Ok(self.transaction.borrow_mut().flush().await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        execute::<DB>(self.transaction.borrow_mut(), sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        number::<DB>(self.transaction.borrow_mut(), sql).await
    }
}

#[async_trait]
impl<DB: TestDatabase> OpenScope for Scope<DB, OutboxTransaction<DB>> {
    async fn commit(self: Box<Self>) -> Result<(), FixtureError> {
        Ok(self.transaction.commit().await?)
    }

    async fn rollback(self: Box<Self>) {
        self.transaction.rollback().await;
    }
}

struct Plain<DB: TestDatabase>(PoolConnection<DB>);

#[async_trait]
impl<DB: TestDatabase> PlainConnection for Plain<DB> {
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        execute::<DB>(&mut self.0, sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        number::<DB>(&mut self.0, sql).await
    }
}

/// As a simple query: not everything can be prepared.
async fn execute<DB: TestDatabase>(connection: &mut DB::Connection, sql: &str) -> Result<(), FixtureError> {
    let sql = sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(sql.to_owned()));
    DB::script(connection, sql).await.map_err(FixtureError::database)
}

async fn number<DB: TestDatabase>(connection: &mut DB::Connection, sql: &str) -> Result<i64, FixtureError> {
    let query = bound::<DB>(&Statement::once(sql, Vec::new()), "");
    let row = DB::fetch(connection, query).try_next().await.map_err(FixtureError::database)?;
    match DB::cell(&row.expect("there is a row"), 0).map_err(FixtureError::database)? {
        Cell::I64(number) => Ok(number),
        other => panic!("{sql}: {other:?} is no number"),
    }
}
