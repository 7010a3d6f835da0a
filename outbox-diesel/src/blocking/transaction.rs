mod attempts;
mod connection;
mod session;

use std::fmt;

use diesel::result::Error;
use diesel::{Connection, QueryResult};
use outbox_core::{Event, Isolation, MessageError, OutboxMessage, TransactionError};

use crate::error::{has_ended, is_lost};
use crate::{Backend, DieselWriter};

/// A transaction and the messages that are committed with it.
///
/// Begun by [`DieselWriter::begin`] or [`DieselWriter::transaction`]. It is a connection: diesel's queries run on it as on
/// any other, `execute(&mut tx)`, or `execute(tx)` inside of a closure, and it can be passed where the connection is asked
/// for that it was begun on. Messages are kept in memory and written in one `INSERT` right before the commit. When it is
/// dropped, by a panic, too, it rolls back, and blocks for as long.
///
/// Beyond what a transaction of diesel does:
///
/// * The commit is refused where an error was ignored that has ended the transaction, or lost some of its messages.
///   PostgreSQL would answer it with a silent rollback; MySQL and MariaDB would have committed what came after.
/// * If the rollback fails, or nobody knows what became of a commit, the connection is broken for diesel
///   ([`BrokenTransactionManager`](Error::BrokenTransactionManager)), and a pool closes it: nothing of the
///   transaction stays open.
///
/// Begin, commit and roll back by its methods only, not by statements. A nested
/// [`transaction`](Connection::transaction) on it is a savepoint, as always, and the messages that are added in there share
/// its fate.
pub struct OutboxTransaction<'c, C: Connection<Backend: Backend>> {
    connection: &'c mut C,
    writer: DieselWriter<C::Backend>,
    messages: Vec<OutboxMessage>,
    /// How many messages there were when each nested transaction began.
    nested: Vec<usize>,
    /// Whether any message was written.
    wrote: bool,
    /// Whether a write of messages failed.
    poisoned: bool,
    /// Whether it has neither been committed nor rolled back.
    open: bool,
}

impl<'c, C: Connection<Backend: Backend>> OutboxTransaction<'c, C> {
    fn begin(
        writer: DieselWriter<C::Backend>,
        connection: &'c mut C,
        isolation: Option<Isolation>,
    ) -> QueryResult<Self> {
        session::begin(connection, isolation)?;
        Ok(Self {
            connection,
            writer,
            messages: Vec::new(),
            nested: Vec::new(),
            wrote: false,
            poisoned: false,
            open: true,
        })
    }
}

impl<C: Connection<Backend: Backend>> OutboxTransaction<'_, C> {
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

    /// Writes the messages that were added so far. Inside of a nested transaction it does nothing: they may yet be rolled
    /// back with it.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. The transaction can't be committed any more then, whatever the caller does.
    pub fn flush(&mut self) -> Result<(), TransactionError<Error>> {
        if self.poisoned {
            return Err(TransactionError::Poisoned);
        }
        if self.messages.is_empty() || self.is_nested()? {
            return Ok(());
        }
        self.poisoned = true;
        self.write()?;
        self.poisoned = false;
        Ok(())
    }

    /// Writes the messages and commits.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]. Nothing is committed, but for [`TransactionError::Unknown`].
    pub fn commit(mut self) -> Result<(), TransactionError<Error>> {
        // Whatever returns early drops it, and that rolls back.
        if self.poisoned {
            return Err(TransactionError::Poisoned);
        }
        if self.is_nested()? {
            // One that was begun and not ended, as after a panic that was caught: what it did is not to be committed.
            return Err(TransactionError::Database(Error::AlreadyInTransaction));
        }
        self.write()?;
        if let Err(error) = session::commit(self.connection) {
            if is_lost(C::Backend::DIALECT, &error) {
                session::give_up(self.connection);
                self.open = false;
                return Err(TransactionError::Unknown(error));
            }
            return Err(refused(error));
        }
        self.open = false;
        if self.wrote {
            self.writer.committed();
        }
        Ok(())
    }

    /// Rolls back. If that fails, the connection is broken for diesel, and a pool closes it.
    pub fn rollback(self) {
        drop(self);
    }

    /// Whether a nested transaction is open. An error if there is none at all any more.
    fn is_nested(&mut self) -> Result<bool, TransactionError<Error>> {
        match session::depth(self.connection)? {
            // libpq has told diesel.
            0 => Err(TransactionError::Ended),
            depth => Ok(depth > 1),
        }
    }

    fn write(&mut self) -> Result<(), TransactionError<Error>> {
        if let Some(check) = session::statements::<C>().check(self.messages.len()) {
            self.connection.batch_execute(check).map_err(refused)?;
        }
        let messages = std::mem::take(&mut self.messages);
        self.writer.insert(self.connection, &messages).map_err(refused)?;
        self.wrote |= !messages.is_empty();
        Ok(())
    }
}

/// An error of a statement that can't have been committed.
fn refused(error: Error) -> TransactionError<Error> {
    if has_ended(&error) { TransactionError::Ended } else { TransactionError::Database(error) }
}

impl<C: Connection<Backend: Backend>> Drop for OutboxTransaction<'_, C> {
    fn drop(&mut self) {
        if self.open {
            session::roll_back(self.connection);
        }
    }
}

impl<C: Connection<Backend: Backend>> fmt::Debug for OutboxTransaction<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("messages", &self.messages.len())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
