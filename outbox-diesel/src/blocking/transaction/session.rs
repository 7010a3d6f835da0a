//! Begins and ends a transaction by the statements of `outbox-sql`, and lets diesel know: its savepoints count on it, and
//! so does a pool that is given a connection back.

use std::num::NonZeroU32;

use diesel::connection::{
    Connection, InstrumentationEvent, TransactionDepthChange, TransactionManager, TransactionManagerStatus,
};
use diesel::result::{Error, QueryResult};
use outbox_core::Isolation;
use outbox_sql::TransactionStatements;

use crate::Backend;
use crate::error::is_lost;

/// The depth of a transaction that is no nested one.
const TOP: NonZeroU32 = NonZeroU32::MIN;

pub(super) const fn statements<C: Connection<Backend: Backend>>() -> TransactionStatements {
    TransactionStatements::new(C::Backend::DIALECT)
}

/// How many transactions are open, each nested in the one before.
pub(super) fn depth<C: Connection>(connection: &mut C) -> QueryResult<u32> {
    Ok(status(connection).transaction_depth()?.map_or(0, NonZeroU32::get))
}

pub(super) fn begin<C>(connection: &mut C, isolation: Option<Isolation>) -> QueryResult<()>
where
    C: Connection<Backend: Backend>,
{
    if depth(connection)? > 0 {
        return Err(Error::AlreadyInTransaction);
    }
    connection.instrumentation().on_connection_event(InstrumentationEvent::begin_transaction(TOP));
    if let Err(error) = connection.batch_execute(statements::<C>().begin(isolation)) {
        // Some of it may have been carried out.
        roll_back(connection);
        return Err(error);
    }
    match status(connection) {
        TransactionManagerStatus::Valid(status) => {
            status.change_transaction_depth(TransactionDepthChange::IncreaseDepth)
        }
        TransactionManagerStatus::InError => Err(Error::BrokenTransactionManager),
    }
}

/// Not by diesel, which would roll back after an error by itself, and then can't tell one that is certain from one that
/// is not.
pub(super) fn commit<C: Connection<Backend: Backend>>(connection: &mut C) -> QueryResult<()> {
    connection.instrumentation().on_connection_event(InstrumentationEvent::commit_transaction(TOP));
    connection.batch_execute(statements::<C>().commit().unwrap_or("COMMIT"))?;
    *status(connection) = TransactionManagerStatus::default();
    Ok(())
}

/// Rolls back, whatever is open. The connection is as it was then, or broken.
pub(super) fn roll_back<C: Connection<Backend: Backend>>(connection: &mut C) {
    connection.instrumentation().on_connection_event(InstrumentationEvent::rollback_transaction(TOP));
    match try_to_roll_back(connection) {
        Ok(()) => *status(connection) = TransactionManagerStatus::default(),
        Err(_) => give_up(connection),
    }
}

fn try_to_roll_back<C: Connection<Backend: Backend>>(connection: &mut C) -> QueryResult<()> {
    if let Err(error) = connection.batch_execute("ROLLBACK") {
        if is_lost(C::Backend::DIALECT, &error) {
            return Err(error);
        }
        // SQLite had ended it by itself, or not even begun it. If that is so, there is room for another one.
        connection.batch_execute("BEGIN; ROLLBACK")?;
    }
    statements::<C>().after_rollback().map_or(Ok(()), |sql| connection.batch_execute(sql))
}

/// Tells diesel that nobody knows how it is with the connection. It refuses to begin a transaction then, and a pool closes
/// the connection.
pub(super) fn give_up<C: Connection>(connection: &mut C) {
    status(connection).set_in_error();
}

fn status<C: Connection>(connection: &mut C) -> &mut TransactionManagerStatus {
    C::TransactionManager::transaction_manager_status_mut(connection)
}
