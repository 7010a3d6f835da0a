//! What diesel's transaction manager of a connection knows of a transaction that is begun and ended here.
//!
//! It names the savepoints of nested transactions by their depth, and by it a pool sees that a connection must not be used
//! again. Its own way to begin with another statement is not there for every connection, and its own commit is one statement,
//! where MySQL and MariaDB need several in one round trip.

use diesel::QueryResult;
use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel::result::Error;
use diesel_async::{AsyncConnection, TransactionManager};

fn status<C: AsyncConnection>(connection: &mut C) -> &mut TransactionManagerStatus {
    C::TransactionManager::transaction_manager_status_mut(connection)
}

/// Whether no transaction is open. An error if nobody knows.
pub(super) fn is_none<C: AsyncConnection>(connection: &mut C) -> QueryResult<bool> {
    Ok(status(connection).transaction_depth()?.is_none())
}

/// An error unless it is the outermost transaction that is open.
pub(super) fn is_one<C: AsyncConnection>(connection: &mut C) -> QueryResult<()> {
    match status(connection).transaction_depth()?.map(std::num::NonZeroU32::get) {
        Some(1) => Ok(()),
        Some(_) => Err(Error::BrokenTransactionManager),
        None => Err(Error::NotInTransaction),
    }
}

/// A transaction is open.
pub(super) fn begun<C: AsyncConnection>(connection: &mut C) -> QueryResult<()> {
    status(connection).transaction_state()?.change_transaction_depth(TransactionDepthChange::IncreaseDepth)
}

/// None is open any more.
pub(super) fn ended<C: AsyncConnection>(connection: &mut C) {
    *status(connection) = TransactionManagerStatus::default();
}

/// Nobody knows, and nobody may use the connection.
pub(super) fn broken<C: AsyncConnection>(connection: &mut C) {
    status(connection).set_in_error();
}
