use diesel::QueryResult;
use diesel::result::Error;
use diesel_async::AsyncConnection;
use outbox_sql::{Dialect, InboxExecutor, Statement};

use crate::Backend;
use crate::asynchronous::statements;
use crate::error::is_lock_timeout;

/// The connection that has the caller's transaction.
pub(super) struct Executor<'c, C>(pub(super) &'c mut C);

impl<C: AsyncConnection<Backend: Backend>> InboxExecutor for Executor<'_, C> {
    type Error = Error;

    async fn count(&mut self, statement: Statement<'_>) -> QueryResult<u64> {
        let count = statements::count(self.0, statement).await?;
        u64::try_from(count).map_err(Error::IntegerConversion)
    }

    async fn run(&mut self, sql: &'static str) -> QueryResult<()> {
        self.0.batch_execute(sql).await
    }

    fn has_waited(&self, error: &Error) -> bool {
        // PostgreSQL has ended the transaction by it.
        C::Backend::DIALECT == Dialect::MySql && is_lock_timeout(error)
    }
}
