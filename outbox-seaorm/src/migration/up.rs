use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Claim, OutboxAdmin, StoreError, StoreErrorKind};
use outbox_sql::{Dialect, Driver, Row, Session, SqlStore, Statement, Step, TableNames, TransactionResult};
use sea_orm::{ConnectionTrait, DatabaseExecutor, DatabaseTransaction, DbErr, TransactionTrait};

use super::in_no_transaction;
use crate::driver::{begin, read_rows};
use crate::error::store_error;

/// Does what `store.migrate()` does, through the connection of the migrator.
pub(super) async fn up(
    connection: &DatabaseExecutor<'_>,
    dialect: Dialect,
    names: &TableNames,
) -> Result<(), DbErr> {
    in_no_transaction(connection, dialect)?;
    let transaction = Arc::new(begin(connection).await?);
    let driver = Migrating { transaction: Arc::clone(&transaction), dialect };
    let store = SqlStore::new(driver, dialect, names.clone());
    store.migrate().await.map_err(|error| DbErr::Migration(error.to_string()))?;
    drop(store);
    match Arc::into_inner(transaction) {
        Some(transaction) => transaction.commit().await,
        None => Err(DbErr::Migration("the transaction is in use".to_owned())),
    }
}

/// Runs the statements of a migration in its transaction.
struct Migrating {
    transaction: Arc<DatabaseTransaction>,
    dialect: Dialect,
}

#[async_trait]
impl Driver for Migrating {
    async fn messages(
        &self,
        _session: Session,
        _statement: Statement<'_>,
        _limit: usize,
        _max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        Err(unexpected("messages"))
    }

    /// In a savepoint: a look at a table that is not there must not spoil the transaction.
    async fn query(&self, _session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let read = async {
            let savepoint = self.transaction.begin().await?;
            let rows = read_rows(&savepoint, statement).await;
            savepoint.rollback().await?;
            rows
        };
        read.await.map_err(|error| store_error("query", error))
    }

    async fn transaction(
        &self,
        _session: Session,
        _steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        Err(unexpected("transaction"))
    }

    async fn script(&self, sql: &str) -> Result<(), StoreError> {
        let run = async {
            if self.dialect == Dialect::MySql {
                // Its statements commit, and a savepoint would be gone.
                return self.transaction.execute_unprepared(sql).await.map(drop);
            }
            let savepoint = self.transaction.begin().await?;
            savepoint.execute_unprepared(sql).await?;
            savepoint.commit().await
        };
        run.await.map_err(|error| store_error("run script", error))
    }
}

fn unexpected(operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Other, operation, "a migration does nothing like it")
}
