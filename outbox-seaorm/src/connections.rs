use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::{Dialect, Session};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::store_error;
use crate::origin::Origin;

/// How long closing a connection may take; the server notices anyway.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// A second connection per session keeps several destinations from waiting for each other.
const PER_SESSION: usize = 2;

/// Connections of the relay's own, opened when they are first needed.
///
/// A connection is out of here while it is used and comes back only after it did all it was asked to. When an operation
/// fails, or its future is dropped, the connection is closed, and with it whatever transaction was open: that is quicker
/// and surer than a rollback that waits in a pool for the next user.
pub(crate) struct Connections {
    origin: Box<dyn Origin>,
    single_writer: bool,
    slots: [Slot; 3],
}

struct Slot {
    permits: Semaphore,
    idle: Mutex<Vec<Held>>,
}

impl Connections {
    pub(crate) fn new(origin: Box<dyn Origin>) -> Self {
        let single_writer = origin.dialect() == Dialect::Sqlite;
        let slot = |connections| Slot { permits: Semaphore::new(connections), idle: Mutex::default() };
        let writers = if single_writer { 1 } else { PER_SESSION };
        Self { origin, single_writer, slots: [slot(PER_SESSION), slot(writers), slot(PER_SESSION)] }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.origin.dialect()
    }

    /// A connection to read with.
    pub(crate) async fn reader(&self, session: Session) -> Result<Lent<'_>, StoreError> {
        self.lend(&self.slots[if self.single_writer { 0 } else { index(session) }]).await
    }

    /// A connection to write with. All writes to a database with a single writer go through the same connection:
    /// waiting for one's turn is cheaper than finding the file locked.
    pub(crate) async fn writer(&self, session: Session) -> Result<Lent<'_>, StoreError> {
        self.lend(&self.slots[if self.single_writer { 1 } else { index(session) }]).await
    }

    async fn lend<'a>(&'a self, slot: &'a Slot) -> Result<Lent<'a>, StoreError> {
        let permit = slot.permits.acquire().await.map_err(|_| closed())?;
        let idle = slot.idle().pop();
        let held = match idle {
            Some(held) => held,
            None => self.open().await?,
        };
        Ok(Lent { held, slot, _permit: permit })
    }

    /// Opens one more connection.
    pub(crate) async fn open(&self) -> Result<Held, StoreError> {
        self.origin.open().await
    }

    /// Looks for what would make the relay work badly here.
    pub(crate) async fn examine(&self) -> Result<(), StoreError> {
        self.origin.examine(self).await
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

impl Slot {
    fn idle(&self) -> MutexGuard<'_, Vec<Held>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, and whose it is.
#[cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    expect(dead_code, reason = "no database is compiled in")
)]
pub(crate) enum Held {
    /// The relay's: a pool of this one connection. Dropping it closes it.
    Own(DatabaseConnection),
    /// The user's pool.
    Shared(DatabaseConnection),
}

impl Held {
    pub(crate) fn connection(&self) -> &DatabaseConnection {
        match self {
            Self::Own(connection) | Self::Shared(connection) => connection,
        }
    }

    /// Makes sure that the connection is closed as soon as nobody uses it any more, instead of being asked whether it is
    /// still good: one that was cut off in the middle of an answer may never say so.
    fn abandon(&self) {
        if let Self::Own(connection) = self {
            // The pool is closed by the first poll; the rest only waits for that.
            let _ = connection.close_by_ref().now_or_never();
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Own(connection) = self {
            let _ = tokio::time::timeout(CLOSE_LIMIT, connection.close_by_ref()).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// A connection in use. Dropping it closes it; [`Lent::give_back`] keeps it for the next one.
pub(crate) struct Lent<'a> {
    held: Held,
    slot: &'a Slot,
    _permit: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// The connection, as something that a future can own.
    pub(crate) fn connection(&self) -> DatabaseConnection {
        self.held.connection().clone()
    }

    /// Does the work, and gives the connection back with its result unless it failed.
    pub(crate) async fn run<T>(
        self,
        operation: &'static str,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, DbErr>> + Send,
    ) -> Result<(T, Self), StoreError> {
        let mut work = Box::pin(work);
        // Declared after the work and so dropped before it: what the work leaves behind when it is cut off finds the
        // connection closed.
        let lent = self;
        let result = match limit {
            Some(limit) => within(limit, &mut work).await,
            None => work.as_mut().await,
        };
        match result {
            Ok(result) => Ok((result, lent)),
            Err(error) => {
                lent.held.abandon();
                drop(work);
                Err(lent.fail(operation, error).await)
            }
        }
    }

    pub(crate) fn give_back(self) {
        let Self { held, slot, _permit } = self;
        if let Held::Own(_) = held {
            slot.idle().push(held);
        }
    }

    /// Closes the connection after an error, and says what the error means.
    async fn fail(self, operation: &'static str, error: DbErr) -> StoreError {
        let error = store_error(operation, error);
        if error.kind() == StoreErrorKind::Unavailable {
            // What cut this connection has most likely cut the others, too.
            self.slot.idle().clear();
        } else {
            self.held.close().await;
        }
        error
    }
}

/// Bounds an operation: a database that stops answering is an error, not a silence.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| {
        Err(DbErr::Conn(RuntimeErr::Internal(format!("no answer within {} s", limit.as_secs()))))
    })
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("address", &self.origin.address()).finish_non_exhaustive()
    }
}
