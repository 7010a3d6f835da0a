use outbox_sql::{InboxExecutor, Statement};
use sea_orm::{DbBackend, DbErr};

use crate::TransactionConnection;
use crate::error::is_lock_timeout;
use crate::query::query;

/// The connection that has the caller's transaction.
pub(super) struct Executor<'c, C> {
    pub(super) connection: &'c C,
    pub(super) backend: DbBackend,
}

impl<C: TransactionConnection> InboxExecutor for Executor<'_, C> {
    type Error = DbErr;

    async fn count(&mut self, statement: Statement<'_>) -> Result<u64, DbErr> {
        // PostgreSQL says of what was read how many rows there were, too, and sea-orm passes it on.
        let result = self.connection.execute_raw(query(self.backend, statement)?).await?;
        Ok(result.rows_affected())
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), DbErr> {
        self.connection.execute_unprepared(sql).await.map(drop)
    }

    fn has_waited(&self, error: &DbErr) -> bool {
        // PostgreSQL has ended the transaction by it.
        self.backend == DbBackend::MySql && is_lock_timeout(error)
    }
}
