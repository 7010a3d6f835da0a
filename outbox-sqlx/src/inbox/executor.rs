use outbox_sql::{InboxExecutor, Statement};

use crate::Backend;
use crate::error::is_lock_timeout;
use crate::query::{query, safe};

/// The connection that has the caller's transaction.
pub(super) struct Executor<'c, DB: Backend>(pub(super) &'c mut DB::Connection);

impl<DB: Backend> InboxExecutor for Executor<'_, DB> {
    type Error = sqlx::Error;

    async fn count(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        DB::execute(self.0, query(statement)?).await
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        DB::script(self.0, safe(sql)).await
    }

    fn has_waited(&self, error: &sqlx::Error) -> bool {
        // PostgreSQL has ended the transaction by it.
        DB::DIALECT == outbox_sql::Dialect::MySql && is_lock_timeout(error)
    }
}
