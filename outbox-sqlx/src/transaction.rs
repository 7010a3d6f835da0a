use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use outbox_core::{AsyncWork, Event, MessageError, OutboxMessage, TransactionError, TransactionPolicy};
use outbox_sql::TransactionStatements;
use sqlx::Pool;
use sqlx::pool::PoolConnection;
use sqlx_core::transaction::TransactionManager;

use crate::connections::within;
use crate::error::{has_ended, is_conflict, is_lost};
use crate::query::{query, safe};
use crate::{Backend, SqlxWriter};

/// How long a rollback may take before the connection is closed instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A transaction and the messages that are committed with it.
///
/// Begun by [`SqlxWriter::begin`] or [`SqlxWriter::transaction`]. It is the connection: `&mut *tx` is what queries of sqlx
/// run on (`&mut **tx` inside of a closure). Messages are kept in memory and written in one `INSERT` right before the
/// commit. When it is dropped it rolls back.
///
/// Beyond what a transaction of sqlx does:
///
/// * The commit is refused where an error was ignored that has ended the transaction, or lost some of its messages.
///   PostgreSQL would answer it with a silent rollback; MySQL and MariaDB would have committed what came after.
/// * With MySQL and MariaDB the connection of a transaction that is dropped is closed: nothing of it stays open.
///
/// Begin, commit and roll back by its methods only, not by statements. Nested transactions of sqlx are savepoints, as
/// always, but the messages of [`OutboxTransaction::add`] do not share their fate; enqueue by
/// [`SqlxWriter::enqueue`] there.
pub struct OutboxTransaction<DB: Backend> {
    /// There until the transaction has ended.
    connection: Option<PoolConnection<DB>>,
    writer: SqlxWriter<DB>,
    messages: Vec<OutboxMessage>,
    /// Whether any message was written.
    wrote: bool,
    /// Whether a write of messages failed, or was cut off.
    poisoned: bool,
}

impl<DB: Backend> SqlxWriter<DB> {
    /// Begins a transaction, at the database's default isolation level.
    ///
    /// # Errors
    ///
    /// The database's. With SQLite, which has one writer at a time, also that it is busy.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn begin(&self, pool: &Pool<DB>) -> Result<OutboxTransaction<DB>, sqlx::Error> {
        self.begin_with(pool, &TransactionPolicy::new()).await
    }

    /// Begins a transaction at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`SqlxWriter::begin`].
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn begin_with(
        &self,
        pool: &Pool<DB>,
        policy: &TransactionPolicy,
    ) -> Result<OutboxTransaction<DB>, sqlx::Error> {
        let mut transaction = OutboxTransaction {
            connection: Some(pool.acquire().await?),
            writer: self.clone(),
            messages: Vec::new(),
            wrote: false,
            poisoned: false,
        };
        let sql = statements::<DB>().begin(policy.isolation_level());
        match DB::TransactionManager::begin(&mut transaction, Some(safe(sql))).await {
            Ok(()) => Ok(transaction),
            Err(error) => {
                transaction.abandon().await;
                Err(error)
            }
        }
    }

    /// Runs a body in a transaction and commits it; after a conflict (see [`is_conflict`]) runs it again in a fresh one,
    /// as often as the policy says. The messages of an attempt live and die with it: a failed one leaves none behind.
    ///
    /// The body must not do anything that can't be undone by a rollback. An error that it returns rolls back. It is
    /// called again, so it may borrow what it captures, but not consume it.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # async fn example(
    /// #     pool: sqlx::PgPool,
    /// #     outbox: outbox_sqlx::PostgresWriter,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), outbox_sqlx::TransactionError> {
    /// use outbox_core::TransactionPolicy;
    /// use outbox_sqlx::TransactionError;
    ///
    /// outbox
    ///     .transaction(&pool, TransactionPolicy::new(), async |tx| {
    ///         sqlx::query("UPDATE stock SET left = left - 1 WHERE item = 7").execute(&mut **tx).await?;
    ///         tx.add(message.clone());
    ///         Ok::<_, TransactionError>(())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the body returned, or a [`TransactionError`] as the body's error type. Nothing is committed then, but for
    /// [`TransactionError::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// Yes: the transaction is rolled back. Where the future is dropped during the commit, nobody knows.
    pub async fn transaction<T, E, F>(
        &self,
        pool: &Pool<DB>,
        policy: TransactionPolicy,
        body: F,
    ) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>> + Error + 'static,
    {
        self.transaction_when(pool, policy, |error: &E| is_conflict(error), body).await
    }

    /// [`SqlxWriter::transaction`] for an error that is no [`Error`], as `anyhow::Error`, or where other errors than
    /// conflicts are worth another attempt: `retry` decides.
    ///
    /// # Errors
    ///
    /// As [`SqlxWriter::transaction`].
    ///
    /// # Cancel safety
    ///
    /// As [`SqlxWriter::transaction`].
    pub async fn transaction_when<T, E, F>(
        &self,
        pool: &Pool<DB>,
        policy: TransactionPolicy,
        retry: impl Fn(&E) -> bool,
        body: F,
    ) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>>,
    {
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(pool, &policy, &body).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = if retry(&error) { pauses.next() } else { None };
            let Some(pause) = pause else {
                return Err(error);
            };
            drop(error);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt<T, E, F>(&self, pool: &Pool<DB>, policy: &TransactionPolicy, body: &F) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction<DB>) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction<DB>, Result<T, E>, Fut: Send>,
        E: From<TransactionError<sqlx::Error>>,
    {
        let begun = self.begin_with(pool, policy).await;
        let mut transaction = begun.map_err(|error| E::from(TransactionError::Database(error)))?;
        match body(&mut transaction).await {
            Ok(value) => {
                transaction.commit().await?;
                Ok(value)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }
}

impl<DB: Backend> OutboxTransaction<DB> {
    /// Takes a message along. It is written right before the commit.
    pub fn add(&mut self, message: OutboxMessage) {
        self.messages.push(message);
    }

    /// Takes an event along.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if it can't be encoded or is out of its limits.
    pub fn emit<E: Event + ?Sized>(&mut self, event: &E) -> Result<(), MessageError> {
        self.add(OutboxMessage::event(event)?);
        Ok(())
    }

    /// Writes the messages that were added so far.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. The transaction can't be committed any more then, whatever the caller does.
    ///
    /// # Cancel safety
    ///
    /// The transaction can't be committed any more.
    pub async fn flush(&mut self) -> Result<(), TransactionError<sqlx::Error>> {
        if self.poisoned {
            return Err(TransactionError::Poisoned);
        }
        if self.messages.is_empty() {
            return Ok(());
        }
        self.poisoned = true;
        self.write().await?;
        self.poisoned = false;
        Ok(())
    }

    /// Writes the messages and commits.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. Nothing is committed, but for [`TransactionError::Unknown`].
    ///
    /// # Cancel safety
    ///
    /// No: nobody knows then whether it is committed.
    pub async fn commit(mut self) -> Result<(), TransactionError<sqlx::Error>> {
        if self.poisoned {
            self.abandon().await;
            return Err(TransactionError::Poisoned);
        }
        if let Err(error) = self.write().await {
            self.abandon().await;
            return Err(error);
        }
        let special = statements::<DB>().commit();
        if let Some(sql) = special {
            let committed = DB::script(&mut self, safe(sql)).await;
            self.unless_failed(committed).await?;
        }
        // After a commit of our own it only tells sqlx.
        match DB::TransactionManager::commit(&mut self).await {
            Err(_) if special.is_some() => self.close(),
            committed => {
                self.unless_failed(committed).await?;
                self.connection = None;
            }
        }
        if self.wrote {
            self.writer.committed();
        }
        Ok(())
    }

    /// Rolls back. If that fails, the connection is closed, and the database rolls back.
    ///
    /// # Cancel safety
    ///
    /// Yes: it is rolled back in any case.
    pub async fn rollback(mut self) {
        self.abandon().await;
    }

    /// Ends a transaction whose commit has failed.
    async fn unless_failed(
        &mut self,
        committed: Result<(), sqlx::Error>,
    ) -> Result<(), TransactionError<sqlx::Error>> {
        match committed {
            Ok(()) => Ok(()),
            Err(error) if is_lost(&error) => {
                self.close();
                Err(TransactionError::Unknown(error))
            }
            Err(error) => {
                self.abandon().await;
                Err(refused(error))
            }
        }
    }

    async fn write(&mut self) -> Result<(), TransactionError<sqlx::Error>> {
        if let Some(check) = statements::<DB>().check(self.messages.len()) {
            DB::script(self, safe(check)).await.map_err(refused)?;
        }
        let messages = std::mem::take(&mut self.messages);
        let insert = self.writer.statements().clone();
        for statement in insert.for_messages(&messages) {
            let query = query(statement)?;
            DB::execute(self, query).await.map_err(refused)?;
            self.wrote = true;
        }
        Ok(())
    }

    /// Rolls back, or closes the connection: it comes back to the pool as it was, or not at all.
    async fn abandon(&mut self) {
        let rolled_back = within(ROLLBACK_LIMIT, async {
            if let Err(error) = DB::TransactionManager::rollback(self).await {
                if is_lost(&error) {
                    return Err(error);
                }
                // SQLite had ended it by itself. Now sqlx has one to roll back, and knows again where it stands.
                DB::script(self, safe("BEGIN")).await?;
                DB::TransactionManager::rollback(self).await?;
            }
            match statements::<DB>().after_rollback() {
                Some(sql) => DB::script(self, safe(sql)).await,
                None => Ok(()),
            }
        });
        match rolled_back.await {
            Ok(()) => self.connection = None,
            Err(_) => self.close(),
        }
    }

    /// Closes the connection, whatever is going on with it.
    fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// An error of a statement that can't have been committed.
fn refused(error: sqlx::Error) -> TransactionError<sqlx::Error> {
    if has_ended(&error) { TransactionError::Ended } else { TransactionError::Database(error) }
}

const fn statements<DB: Backend>() -> TransactionStatements {
    TransactionStatements::new(DB::DIALECT)
}

impl<DB: Backend> Drop for OutboxTransaction<DB> {
    fn drop(&mut self) {
        if DB::CLOSES_UNFINISHED {
            self.close();
        } else if let Some(connection) = &mut self.connection {
            DB::TransactionManager::start_rollback(connection);
        }
    }
}

impl<DB: Backend> Deref for OutboxTransaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        self.connection.as_ref().expect("it is there until the transaction has ended")
    }
}

impl<DB: Backend> DerefMut for OutboxTransaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("it is there until the transaction has ended")
    }
}

impl<DB: Backend> fmt::Debug for OutboxTransaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("messages", &self.messages.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
