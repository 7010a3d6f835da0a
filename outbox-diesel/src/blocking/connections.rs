use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::ConnectionError;
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Session;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::backend::{self, BlockingBackend};
use super::origin::Origin;
use super::threads::{Cut, Threads, drop_elsewhere};
use crate::Backend;
use crate::error::{connect_error, store_error, timed_out};

/// How long opening a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A second connection per session keeps several destinations from waiting for each other.
const PER_SESSION: usize = 2;
/// One for each connection, and some for those that nobody waits for any more.
const THREADS: usize = 16;

/// Connections of the relay's own, opened when they are first needed.
///
/// A connection is out of here while it is used and comes back only after it did all it was asked to. When an operation
/// fails, or its future is dropped, the connection is closed by the thread that works with it, as soon as that gets an
/// answer, and a transaction that was open is rolled back.
pub struct Connections<C: BlockingBackend> {
    origin: Arc<Origin>,
    threads: Threads,
    slots: [Slot<C>; 3],
}

struct Slot<C: BlockingBackend> {
    permits: Semaphore,
    idle: Mutex<Vec<C>>,
}

impl<C: BlockingBackend> Connections<C> {
    pub(super) fn new(origin: Origin) -> Self {
        let slot = |connections| Slot { permits: Semaphore::new(connections), idle: Mutex::default() };
        let writers = if C::SINGLE_WRITER { 1 } else { PER_SESSION };
        Self {
            origin: Arc::new(origin),
            threads: Threads::new(THREADS),
            slots: [slot(PER_SESSION), slot(writers), slot(PER_SESSION)],
        }
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
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(Lent { connection, connections: self, slot, _permit: permit })
    }

    /// Opens one more connection.
    pub(super) async fn open(&self) -> Result<C, StoreError> {
        let origin = Arc::clone(&self.origin);
        let error = move |origin: &Origin, error| {
            connect_error(C::Database::DIALECT, &origin.address, &origin.without_secrets(error))
        };
        let open = move |_: &Cut| backend::open::<C>(&origin).map_err(|failed| error(&origin, failed));
        timeout(CONNECT_LIMIT, self.threads.run("connect", open)).await.unwrap_or_else(|_| {
            let text = format!("no answer within {} s", CONNECT_LIMIT.as_secs());
            Err(error(&self.origin, ConnectionError::BadConnection(text)))
        })
    }

    /// Works with a connection on a thread. After an error it is closed.
    pub(super) async fn work<T, F>(
        &self,
        mut connection: C,
        operation: &'static str,
        limit: Duration,
        job: F,
    ) -> Result<(C, T), StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut C, &Cut) -> QueryResult<T> + Send + 'static,
    {
        let job = move |cut: &Cut| match job(&mut connection, cut) {
            Ok(done) => Ok((connection, done)),
            Err(error) => Err(store_error(C::Database::DIALECT, operation, error)),
        };
        timeout(limit, self.threads.run(operation, job))
            .await
            .unwrap_or_else(|_| Err(timed_out(operation, limit)))
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

impl<C: BlockingBackend> Slot<C> {
    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_idle(&self) {
        drop_elsewhere(std::mem::take(&mut *self.idle()));
    }
}

impl<C: BlockingBackend> Drop for Slot<C> {
    fn drop(&mut self) {
        self.close_idle();
    }
}

/// A connection in use. Dropping it closes it; [`Lent::give_back`] keeps it for the next one.
pub(super) struct Lent<'a, C: BlockingBackend> {
    connection: C,
    connections: &'a Connections<C>,
    slot: &'a Slot<C>,
    _permit: SemaphorePermit<'a>,
}

impl<C: BlockingBackend> Lent<'_, C> {
    pub(super) fn give_back(self) {
        self.slot.idle().push(self.connection);
    }

    /// Works with the connection, and gives it back.
    pub(super) async fn run<T, F>(
        self,
        operation: &'static str,
        limit: Duration,
        job: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut C, &Cut) -> QueryResult<T> + Send + 'static,
    {
        match self.connections.work(self.connection, operation, limit, job).await {
            Ok((connection, done)) => {
                self.slot.idle().push(connection);
                Ok(done)
            }
            Err(error) => {
                if error.kind() == StoreErrorKind::Unavailable {
                    // What cut this connection has most likely cut the others, too.
                    self.slot.close_idle();
                }
                Err(error)
            }
        }
    }
}

impl<C: BlockingBackend> fmt::Debug for Connections<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("address", &self.origin.address).finish_non_exhaustive()
    }
}
