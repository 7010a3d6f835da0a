use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use futures_util::FutureExt;
use outbox_core::{AsyncWork, Event, MessageError, OutboxMessage, TransactionPolicy};
use outbox_sql::InsertStatements;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr};

use crate::connections::within;
use crate::error::{has_ended, is_conflict, is_lost};
use crate::frame::Frame;
use crate::query::query;
use crate::{SeaOrmWriter, TransactionError, origin};

/// How long a session may take to become again what it was, before its connection is given up.
const RESTORE_LIMIT: Duration = Duration::from_secs(5);

/// A transaction and the messages that are committed with it.
///
/// Begun by [`SeaOrmWriter::begin`] or [`SeaOrmWriter::transaction`]. It is a connection of sea-orm's: statements run on
/// `&tx`, inside of a closure on `tx` itself, and what wants a [`DatabaseTransaction`] gets `&*tx` (`&**tx` inside of a
/// closure). Messages are kept in memory and written in one `INSERT` right before the commit. When it is dropped it rolls
/// back.
///
/// Beyond what a transaction of sea-orm does:
///
/// * The commit is refused where an error was ignored that has ended the transaction, or lost some of its messages.
///   PostgreSQL would answer it with a silent rollback; MySQL and MariaDB would have committed what came after.
/// * With MySQL and MariaDB the server closes the connection of a transaction that is dropped: nothing of it stays open,
///   and the pool opens another one. The session's `autocommit` is off and its `completion_type` is `RELEASE` for as long
///   as the transaction is open; leave both alone, and the session's variable `@outbox_completion_type`.
///
/// Begin, commit and roll back by its methods only, not by statements. Nested transactions of sea-orm are savepoints, as
/// always, but the messages of [`OutboxTransaction::add`] do not share their fate; enqueue by [`SeaOrmWriter::enqueue`]
/// there. End them before the commit: with PostgreSQL sea-orm takes the commit for theirs while one is open, and what is
/// then reported as committed is not.
pub struct OutboxTransaction {
    /// There until the transaction has ended.
    transaction: Option<DatabaseTransaction>,
    frame: Frame,
    insert: InsertStatements,
    writer: SeaOrmWriter,
    messages: Vec<OutboxMessage>,
    /// Whether any message was written.
    wrote: bool,
    /// Whether a write of messages failed, or was cut off.
    poisoned: bool,
}

impl SeaOrmWriter {
    /// Begins a transaction, at the database's default isolation level.
    ///
    /// # Errors
    ///
    /// The database's. With SQLite, which has one writer at a time, also that it is busy. [`DbErr::BackendNotSupported`]
    /// if the feature of this database is off.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn begin(&self, db: &DatabaseConnection) -> Result<OutboxTransaction, DbErr> {
        self.begin_with(db, &TransactionPolicy::new()).await
    }

    /// Begins a transaction at the isolation level of a policy.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmWriter::begin`].
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn begin_with(
        &self,
        db: &DatabaseConnection,
        policy: &TransactionPolicy,
    ) -> Result<OutboxTransaction, DbErr> {
        let backend = origin::backend(db)?;
        let insert = self.statements(backend)?.clone();
        let frame = Frame::new(origin::dialect(backend));
        let transaction = frame.begin(db, policy.isolation_level()).await?;
        Ok(OutboxTransaction {
            transaction: Some(transaction),
            frame,
            insert,
            writer: self.clone(),
            messages: Vec::new(),
            wrote: false,
            poisoned: false,
        })
    }

    /// Runs a body in a transaction and commits it; after a conflict (see [`is_conflict`]) runs it again in a fresh one,
    /// as often as the policy says. The messages of an attempt live and die with it: a failed one leaves none behind.
    ///
    /// The body must not do anything that can't be undone by a rollback. An error that it returns rolls back. It is
    /// called again, so it may borrow what it captures, but not consume it.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     db: sea_orm::DatabaseConnection,
    /// #     outbox: outbox_seaorm::SeaOrmWriter,
    /// #     message: outbox_core::OutboxMessage,
    /// # ) -> Result<(), outbox_seaorm::TransactionError> {
    /// use outbox_core::TransactionPolicy;
    /// use outbox_seaorm::TransactionError;
    /// use sea_orm::ConnectionTrait;
    ///
    /// outbox
    ///     .transaction(&db, TransactionPolicy::new(), async |tx| {
    ///         tx.execute_unprepared("UPDATE stock SET left_over = left_over - 1 WHERE item = 7").await?;
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
        db: &DatabaseConnection,
        policy: TransactionPolicy,
        body: F,
    ) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError> + Error + 'static,
    {
        self.transaction_when(db, policy, |error: &E| is_conflict(error), body).await
    }

    /// [`SeaOrmWriter::transaction`] for an error that is no [`Error`], as `anyhow::Error`, or where other errors than
    /// conflicts are worth another attempt: `retry` decides.
    ///
    /// # Errors
    ///
    /// As [`SeaOrmWriter::transaction`].
    ///
    /// # Cancel safety
    ///
    /// As [`SeaOrmWriter::transaction`].
    pub async fn transaction_when<T, E, F>(
        &self,
        db: &DatabaseConnection,
        policy: TransactionPolicy,
        retry: impl Fn(&E) -> bool,
        body: F,
    ) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError>,
    {
        let mut pauses = policy.pauses_between_attempts();
        loop {
            let error = match self.attempt(db, &policy, &body).await {
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

    async fn attempt<T, E, F>(
        &self,
        db: &DatabaseConnection,
        policy: &TransactionPolicy,
        body: &F,
    ) -> Result<T, E>
    where
        for<'t> F: AsyncFn(&'t mut OutboxTransaction) -> Result<T, E>
            + AsyncWork<&'t mut OutboxTransaction, Result<T, E>, Fut: Send>,
        E: From<TransactionError>,
    {
        let begun = self.begin_with(db, policy).await;
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

impl OutboxTransaction {
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
    pub async fn flush(&mut self) -> Result<(), TransactionError> {
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
    pub async fn commit(mut self) -> Result<(), TransactionError> {
        if self.poisoned {
            self.abandon().await;
            return Err(TransactionError::Poisoned);
        }
        if let Err(error) = self.write().await {
            self.abandon().await;
            return Err(error);
        }
        let committed = match (self.frame.commit(), &self.transaction) {
            (Some(sql), Some(transaction)) => transaction.execute_unprepared(sql).await.map(drop),
            _ => match self.transaction.take() {
                Some(transaction) => transaction.commit().await,
                None => Ok(()),
            },
        };
        if let Err(error) = committed {
            return Err(self.not_committed(error).await);
        }
        if self.wrote {
            self.writer.committed();
        }
        if let (Some(sql), Some(transaction)) = (self.frame.after_commit(), &self.transaction) {
            // Without it the server closes the connection.
            let _ = within(RESTORE_LIMIT, transaction.execute_unprepared(sql)).await;
        }
        // What sea-orm rolls back now is empty.
        drop(self.transaction.take());
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
    async fn not_committed(&mut self, error: DbErr) -> TransactionError {
        if is_lost(&error) {
            drop(self.transaction.take());
            return TransactionError::Unknown(error);
        }
        self.abandon().await;
        refused(error)
    }

    async fn write(&mut self) -> Result<(), TransactionError> {
        let Some(transaction) = &self.transaction else {
            return Ok(());
        };
        if let Some(check) = self.frame.check(self.messages.len()) {
            transaction.execute_unprepared(check).await.map_err(refused)?;
        }
        let messages = std::mem::take(&mut self.messages);
        let backend = transaction.get_database_backend();
        for statement in self.insert.for_messages(&messages) {
            transaction.execute_raw(query(backend, statement)?).await.map_err(refused)?;
            self.wrote = true;
        }
        Ok(())
    }

    /// Rolls back: the connection comes back to the pool as it was, or not at all.
    async fn abandon(&mut self) {
        // Whatever becomes of it, it is dropped in the end, and what is left open then is rolled back or closed.
        let _ = within(RESTORE_LIMIT, async {
            let Some(transaction) = &self.transaction else {
                return Ok(());
            };
            if let Some(sql) = self.frame.rollback() {
                return transaction.execute_unprepared(sql).await.map(drop);
            }
            if let Some(sql) = self.frame.before_rollback() {
                let _ = transaction.execute_unprepared(sql).await;
            }
            match self.transaction.take() {
                Some(transaction) => transaction.rollback().await,
                None => Ok(()),
            }
        })
        .await;
        drop(self.transaction.take());
    }
}

/// An error of a statement that can't have been committed.
fn refused(error: DbErr) -> TransactionError {
    if has_ended(&error) { TransactionError::Ended } else { TransactionError::Database(error) }
}

impl Drop for OutboxTransaction {
    /// sea-orm's transaction comes after this, and leaves a `ROLLBACK` behind.
    fn drop(&mut self) {
        if let (Some(sql), Some(transaction)) = (self.frame.before_rollback(), &self.transaction) {
            // SQLite runs in a thread that gets this with the first poll, and carries it out.
            let _ = transaction.execute_unprepared(sql).now_or_never();
        }
    }
}

impl Deref for OutboxTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        self.transaction.as_ref().expect("it is there until the transaction has ended")
    }
}

impl fmt::Debug for OutboxTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("messages", &self.messages.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
