use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::{ConnectionError, DatabaseErrorKind, Error};
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Session;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::backend::AsyncBackend;
use super::connector::Connector;
use crate::Backend;
use crate::error::{connect_error, store_error};

/// How long opening a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A second connection per session keeps several destinations from waiting for each other.
const PER_SESSION: usize = 2;

/// Connections of the relay's own, opened when they are first needed.
///
/// A connection is out of here while it is used and comes back only after it did all it was asked to. When an operation
/// fails, or its future is dropped, the connection is closed, and with it whatever transaction was open: diesel-async
/// rolls nothing back by itself.
pub struct Connections<C: AsyncBackend> {
    connector: Connector<C>,
    slots: [Slot<C>; 3],
}

struct Slot<C: AsyncBackend> {
    permits: Semaphore,
    idle: Mutex<Vec<C>>,
}

impl<C: AsyncBackend> Connections<C> {
    pub(super) fn new(connector: Connector<C>) -> Self {
        let slot = |connections| Slot { permits: Semaphore::new(connections), idle: Mutex::default() };
        let writers = if C::SINGLE_WRITER { 1 } else { PER_SESSION };
        Self { connector, slots: [slot(PER_SESSION), slot(writers), slot(PER_SESSION)] }
    }

    /// A connection to read with.
    pub(super) async fn reader(&self, session: Session) -> Result<Lent<'_, C>, StoreError> {
        self.lend(&self.slots[if C::SINGLE_WRITER { 0 } else { index(session) }]).await
    }

    /// A connection to write with. All writes to a database with a single writer go through the same connection:
    /// waiting for one's turn is cheaper than finding the file locked.
    pub(super) async fn writer(&self, session: Session) -> Result<Lent<'_, C>, StoreError> {
        self.lend(&self.slots[if C::SINGLE_WRITER { 1 } else { index(session) }]).await
    }

    async fn lend<'a>(&'a self, slot: &'a Slot<C>) -> Result<Lent<'a, C>, StoreError> {
        let permit = slot.permits.acquire().await.map_err(|_| closed())?;
        let idle = slot.idle().pop();
        let held = match idle {
            Some(connection) => Held(Some(connection)),
            None => self.open().await?,
        };
        Ok(Lent { held, slot, _permit: permit })
    }

    /// Opens one more connection.
    pub(super) async fn open(&self) -> Result<Held<C>, StoreError> {
        let connect = async {
            let mut held = Held(Some(self.connector.open().await?));
            for setting in C::SETTINGS.iter().chain(C::Database::DIALECT.session_settings()) {
                held.connection()
                    .batch_execute(setting)
                    .await
                    .map_err(ConnectionError::CouldntSetupConfiguration)?;
            }
            Ok(held)
        };
        let connected = tokio::time::timeout(CONNECT_LIMIT, connect).await;
        let connected =
            connected.unwrap_or_else(|_| Err(ConnectionError::BadConnection(late(CONNECT_LIMIT))));
        connected.map_err(|error| connect_error(C::Database::DIALECT, self.connector.address(), &error))
    }
}

const fn index(session: Session) -> usize {
    match session {
        Session::Read => 0,
        Session::Settle => 1,
        Session::Control => 2,
    }
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "connect", "the store is closed")
}

impl<C: AsyncBackend> Slot<C> {
    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. It is cut off when it is dropped, whatever is going on in it.
pub(super) struct Held<C: AsyncBackend>(Option<C>);

impl<C: AsyncBackend> Held<C> {
    pub(super) fn connection(&mut self) -> &mut C {
        match &mut self.0 {
            Some(connection) => connection,
            None => unreachable!("only what ends it takes it"),
        }
    }

    fn into_inner(mut self) -> Option<C> {
        self.0.take()
    }
}

impl<C: AsyncBackend> Drop for Held<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.cut_off();
        }
    }
}

/// A connection that was lent out. Dropping it closes it; [`Lent::give_back`] keeps it for the next one.
pub(super) struct Lent<'a, C: AsyncBackend> {
    held: Held<C>,
    slot: &'a Slot<C>,
    _permit: SemaphorePermit<'a>,
}

impl<C: AsyncBackend> Lent<'_, C> {
    pub(super) fn connection(&mut self) -> &mut C {
        self.held.connection()
    }

    pub(super) fn give_back(self) {
        self.slot.idle().extend(self.held.into_inner());
    }

    /// Closes the connection after an error, and says what the error means.
    pub(super) fn fail(self, operation: &'static str, error: Error) -> StoreError {
        let error = store_error(C::Database::DIALECT, operation, error);
        if error.kind() == StoreErrorKind::Unavailable {
            // What cut this connection has most likely cut the others, too.
            let others = std::mem::take(&mut *self.slot.idle());
            others.into_iter().for_each(C::cut_off);
        }
        error
    }
}

/// Bounds an operation: a database that stops answering is an error, not a silence.
pub(super) async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = QueryResult<T>>,
) -> QueryResult<T> {
    tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| {
        Err(Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand, Box::new(late(limit))))
    })
}

fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs())
}

impl<C: AsyncBackend> fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("connector", &self.connector).finish_non_exhaustive()
    }
}
