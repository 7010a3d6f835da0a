use std::future::Future;

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use futures_util::FutureExt;
use outbox_sql::{Dialect, InboxExecutor, Statement};

use crate::Backend;
use crate::error::is_lock_timeout;
use crate::statement::BoundStatement;

/// The connection that has the caller's transaction.
pub(super) struct Executor<'c, C>(pub(super) &'c mut C);

impl<C: Connection<Backend: Backend>> InboxExecutor for Executor<'_, C> {
    type Error = Error;

    async fn count(&mut self, statement: Statement<'_>) -> QueryResult<u64> {
        let count = self.0.execute_returning_count(&BoundStatement::<C::Backend>::new(statement))?;
        u64::try_from(count).map_err(Error::IntegerConversion)
    }

    async fn run(&mut self, sql: &'static str) -> QueryResult<()> {
        self.0.batch_execute(sql)
    }

    fn has_waited(&self, error: &Error) -> bool {
        // PostgreSQL has ended the transaction by it.
        C::Backend::DIALECT == Dialect::MySql && is_lock_timeout(error)
    }
}

/// The outcome of what runs on an [`Executor`].
pub(super) fn done<T>(admitted: impl Future<Output = T>) -> T {
    admitted.now_or_never().expect("it waits for the executor alone, which blocks instead")
}
