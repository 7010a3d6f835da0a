use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::Error;
use futures_util::FutureExt;
use outbox_core::{Event, MessageError, OutboxMessage, TransactionError, TransactionPolicy};
use outbox_sql::{Dialect, TransactionStatements};

use super::connections::within;
use super::depth;
use super::{AsyncDieselWriter, AsyncProducerConnection};
use crate::Backend;
use crate::error::{has_ended, is_lost};

/// How long a rollback may take before the connection is given up instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// A transaction and the messages that are committed with it, on a connection that the caller lends.
///
/// Begun by [`AsyncDieselWriter::begin`] or [`AsyncDieselWriter::transaction`]. It is the connection: queries of diesel run
/// on `&mut *tx` (`&mut **tx`, or just `tx`, inside of a closure). Messages are kept in memory and written in one `INSERT`
/// right before the commit.
///
/// ```no_run
/// # #[cfg(feature = "async-postgres")]
/// # async fn example(
/// #     pool: diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
/// #     outbox: outbox_diesel::AsyncPostgresWriter,
/// #     message: outbox_core::OutboxMessage,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use diesel_async::RunQueryDsl;
///
/// let mut connection = pool.get().await?;
/// let mut tx = outbox.begin(&mut *connection).await?;
/// diesel::sql_query("INSERT INTO orders (id) VALUES (7)").execute(&mut *tx).await?;
/// tx.add(message);
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// The commit is refused where an error was ignored that has ended the transaction, or lost some of its messages.
/// PostgreSQL would answer it with a silent rollback; MySQL and MariaDB would have committed what came after. It is also
/// refused after the future of a nested transaction was dropped.
///
/// Begin, commit and roll back by its methods only, not by statements. Nested transactions of diesel are savepoints, as
/// always, but the messages of [`AsyncOutboxTransaction::add`] do not share their fate; enqueue by
/// [`AsyncDieselWriter::enqueue`] there.
///
/// # When it is dropped
///
/// Nobody can wait for a rollback then. What is dropped before it was committed or rolled back, with the future that it is
/// in or by a `?`, commits nothing, but **its connection is of no more use**. A pool of diesel-async knows that, and closes
/// it: bb8 when it comes back, deadpool before somebody else gets it. Not so mobc with diesel-async 0.9.2, which keeps what
/// is broken and closes what is not. Whoever has no pool closes the connection himself. Another transaction on it is an
/// error, but with SQLite, where diesel takes one of its own for nested in the dropped one.
///
/// Locks do not wait for a pool. PostgreSQL is sent a rollback at once, MySQL and MariaDB are told to close the connection,
/// since its `autocommit` is off. With SQLite nothing can be sent without waiting, and the file stays locked until the
/// connection is closed: take a pool that does so at once, as bb8 does.
///
/// With [`AsyncDieselWriter::transaction`] an error of the body is rolled back, and only a future that is dropped costs a
/// connection.
pub struct AsyncOutboxTransaction<'c, C: AsyncProducerConnection> {
    connection: &'c mut C,
    writer: AsyncDieselWriter<C::Database>,
    messages: Vec<OutboxMessage>,
    /// Whether it has begun, or may have, and not ended.
    open: bool,
    /// Whether any message was written.
    wrote: bool,
    /// Whether a write of messages failed, or was cut off.
    poisoned: bool,
}

impl<'c, C: AsyncProducerConnection> AsyncOutboxTransaction<'c, C> {
    /// One that has not begun.
    pub(super) fn new(writer: AsyncDieselWriter<C::Database>, connection: &'c mut C) -> Self {
        Self { connection, writer, messages: Vec::new(), open: false, wrote: false, poisoned: false }
    }

    /// Begins, for the first time or again.
    pub(super) async fn start(&mut self, policy: &TransactionPolicy) -> QueryResult<()> {
        if !depth::is_none(self.connection)? {
            return Err(Error::AlreadyInTransaction);
        }
        (self.wrote, self.poisoned) = (false, false);
        self.messages.clear();
        // Before the statement: whoever drops the future in the middle of it leaves a transaction, or may have.
        depth::begun(self.connection)?;
        self.open = true;
        let begun = self.connection.batch_execute(self.statements().begin(policy.isolation_level())).await;
        if begun.is_err() {
            self.abandon().await;
        }
        begun
    }

    /// Whether another transaction can begin on the connection.
    pub(super) fn can_start(&mut self) -> bool {
        !self.open && depth::is_none(self.connection).unwrap_or(false)
    }

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
    pub async fn flush(&mut self) -> Result<(), TransactionError<Error>> {
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
    /// No: nobody knows then whether it is committed, and the connection is of no more use.
    pub async fn commit(mut self) -> Result<(), TransactionError<Error>> {
        self.finish().await
    }

    /// Rolls back. If that fails, the connection is of no more use, as that of one that was dropped.
    ///
    /// # Cancel safety
    ///
    /// No: the connection is of no more use. Nothing is committed.
    pub async fn rollback(mut self) {
        self.abandon().await;
    }

    /// Writes the messages and commits.
    pub(super) async fn finish(&mut self) -> Result<(), TransactionError<Error>> {
        if self.poisoned {
            self.abandon().await;
            return Err(TransactionError::Poisoned);
        }
        if let Err(error) = self.write().await {
            self.abandon().await;
            return Err(error);
        }
        // The future of a nested transaction was dropped, or the caller has ended this one.
        if let Err(error) = depth::is_one(self.connection) {
            self.abandon().await;
            return Err(TransactionError::Database(error));
        }
        match self.connection.batch_execute(self.statements().commit().unwrap_or("COMMIT")).await {
            Ok(()) => {
                depth::ended(self.connection);
                self.open = false;
                if self.wrote {
                    self.writer.committed();
                }
                Ok(())
            }
            Err(error) if is_lost(C::Database::DIALECT, &error) => {
                self.give_up();
                Err(TransactionError::Unknown(error))
            }
            Err(error) => {
                self.abandon().await;
                Err(refused(error))
            }
        }
    }

    async fn write(&mut self) -> Result<(), TransactionError<Error>> {
        if let Some(check) = self.statements().check(self.messages.len()) {
            self.connection.batch_execute(check).await.map_err(refused)?;
        }
        let messages = std::mem::take(&mut self.messages);
        self.writer.insert(self.connection, &messages).await.map_err(refused)?;
        self.wrote |= !messages.is_empty();
        Ok(())
    }

    /// Rolls back, or gives the connection up: it comes back as it was, or not at all.
    pub(super) async fn abandon(&mut self) {
        let after = self.statements().after_rollback();
        let connection = &mut *self.connection;
        let rolled_back = within(ROLLBACK_LIMIT, async {
            if let Err(error) = connection.batch_execute("ROLLBACK").await {
                if is_lost(C::Database::DIALECT, &error) {
                    return Err(error);
                }
                // SQLite had ended it by itself. If another one can begin, then none is open.
                connection.batch_execute("BEGIN; ROLLBACK").await?;
            }
            match after {
                Some(sql) => connection.batch_execute(sql).await,
                None => Ok(()),
            }
        });
        match rolled_back.await {
            Ok(()) => {
                depth::ended(self.connection);
                self.open = false;
            }
            Err(_) => self.give_up(),
        }
    }

    /// Ends the transaction of a message that was not admitted.
    ///
    /// MySQL's and MariaDB's connection goes with one that is busy. It may be one that gives its answers a statement late,
    /// since its user was dropped while a pool tested it: diesel-async does not notice, and the pool would lend it for ever.
    pub(super) async fn turn_away(&mut self, busy: bool) {
        if busy && C::Database::DIALECT == Dialect::MySql {
            self.give_up();
        } else {
            self.abandon().await;
        }
    }

    /// Leaves the connection in such a state that nobody takes it for a good one.
    fn give_up(&mut self) {
        self.open = false;
        let Some(farewell) = C::FAREWELL else {
            // What is known of the transaction may be in use by a thread. That it is open is known already.
            return;
        };
        depth::broken(self.connection);
        // The first poll sends it; nobody waits for the answer. Nothing is lost where it could not be sent.
        let _ = tokio::task::unconstrained(self.connection.batch_execute(farewell)).now_or_never();
    }

    const fn statements(&self) -> TransactionStatements {
        TransactionStatements::new(C::Database::DIALECT)
    }
}

/// An error of a statement that can't have been committed.
fn refused(error: Error) -> TransactionError<Error> {
    if has_ended(&error) { TransactionError::Ended } else { TransactionError::Database(error) }
}

impl<C: AsyncProducerConnection> Drop for AsyncOutboxTransaction<'_, C> {
    fn drop(&mut self) {
        if self.open {
            self.give_up();
        }
    }
}

impl<C: AsyncProducerConnection> Deref for AsyncOutboxTransaction<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
    }
}

impl<C: AsyncProducerConnection> DerefMut for AsyncOutboxTransaction<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection
    }
}

impl<C: AsyncProducerConnection> fmt::Debug for AsyncOutboxTransaction<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncOutboxTransaction")
            .field("messages", &self.messages.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
