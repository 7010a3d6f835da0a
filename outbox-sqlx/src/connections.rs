use std::fmt;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Session;
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, Pool};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::Backend;
use crate::backend::Options;
use crate::error::{connect_error, store_error};
use crate::query::safe;

/// How long opening a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long closing one may take; the server notices anyway.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// A second connection per session keeps several destinations from waiting for each other.
const PER_SESSION: usize = 2;

/// Connections of the relay's own, opened when they are first needed.
///
/// A connection is out of here while it is used and comes back only after it did all it was asked to. When an operation
/// fails, or its future is dropped, the connection is closed, and with it whatever transaction was open: that is quicker
/// and surer than a rollback that waits in a pool for the next user.
pub struct Connections<DB: Backend> {
    origin: Origin<DB>,
    /// Whether the database exists in the pool's own connections only (SQLite in memory).
    only_in_pool: OnceCell<bool>,
    slots: [Slot<DB>; 3],
}

enum Origin<DB: Backend> {
    Options(Box<Options<DB>>),
    /// The options are read again for each connection: a pool may be given a new password while it runs.
    Pool(Pool<DB>),
}

struct Slot<DB: Backend> {
    permits: Semaphore,
    idle: Mutex<Vec<DB::Connection>>,
}

impl<DB: Backend> Connections<DB> {
    pub(crate) fn from_options(options: Options<DB>) -> Self {
        Self::new(Origin::Options(Box::new(options)))
    }

    pub(crate) fn from_pool(pool: &Pool<DB>) -> Self {
        Self::new(Origin::Pool(pool.clone()))
    }

    fn new(origin: Origin<DB>) -> Self {
        let slot = |connections| Slot { permits: Semaphore::new(connections), idle: Mutex::default() };
        let writers = if DB::SINGLE_WRITER { 1 } else { PER_SESSION };
        Self {
            origin,
            only_in_pool: OnceCell::new(),
            slots: [slot(PER_SESSION), slot(writers), slot(PER_SESSION)],
        }
    }

    /// A connection to read with.
    pub(crate) async fn reader(&self, session: Session) -> Result<Lent<'_, DB>, StoreError> {
        self.lend(&self.slots[if DB::SINGLE_WRITER { 0 } else { index(session) }]).await
    }

    /// A connection to write with. All writes to a database with a single writer go through the same connection:
    /// waiting for one's turn is cheaper than finding the file locked.
    pub(crate) async fn writer(&self, session: Session) -> Result<Lent<'_, DB>, StoreError> {
        self.lend(&self.slots[if DB::SINGLE_WRITER { 1 } else { index(session) }]).await
    }

    async fn lend<'a>(&'a self, slot: &'a Slot<DB>) -> Result<Lent<'a, DB>, StoreError> {
        let permit = slot.permits.acquire().await.map_err(|_| closed())?;
        let idle = slot.idle().pop();
        let held = match idle {
            Some(connection) => Held::Own(connection),
            None => self.open().await?,
        };
        Ok(Lent { held, slot, _permit: permit })
    }

    /// Opens one more connection.
    pub(crate) async fn open(&self) -> Result<Held<DB>, StoreError> {
        let options = match &self.origin {
            Origin::Options(options) => DB::relay_options(options),
            Origin::Pool(pool) => {
                let only_in_pool = || async { DB::only_in_pool(pool).await };
                if *self
                    .only_in_pool
                    .get_or_try_init(only_in_pool)
                    .await
                    .map_err(|e| store_error("connect", e))?
                {
                    let connection = pool.acquire().await.map_err(|error| store_error("connect", error))?;
                    return Ok(Held::Shared(connection));
                }
                DB::relay_options(&pool.connect_options())
            }
        };
        let connect = async {
            let mut connection = options.connect().await?;
            for &setting in DB::DIALECT.session_settings() {
                #[cfg(outbox_sabotage)]
                let setting = if setting.contains("ISOLATION LEVEL READ COMMITTED")
                    && outbox_core::sabotage::is("repeatable-read")
                {
                    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
                } else {
                    setting
                };
                DB::script(&mut connection, safe(setting)).await?;
            }
            Ok(connection)
        };
        match within(CONNECT_LIMIT, connect).await {
            Ok(connection) => Ok(Held::Own(connection)),
            Err(error) => Err(connect_error(&DB::address(&options), error)),
        }
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

impl<DB: Backend> Slot<DB> {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<DB::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropping it closes it; [`Lent::give_back`] keeps it for the next one.
pub(crate) struct Lent<'a, DB: Backend> {
    held: Held<DB>,
    slot: &'a Slot<DB>,
    _permit: SemaphorePermit<'a>,
}

pub(crate) enum Held<DB: Backend> {
    Own(DB::Connection),
    Shared(PoolConnection<DB>),
}

impl<DB: Backend> Held<DB> {
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        match self {
            Self::Own(connection) => connection,
            Self::Shared(connection) => connection,
        }
    }

    pub(crate) async fn close(self) {
        if let Self::Own(connection) = self {
            let _ = tokio::time::timeout(CLOSE_LIMIT, connection.close()).await;
        }
    }
}

impl<DB: Backend> Lent<'_, DB> {
    pub(crate) fn connection(&mut self) -> &mut DB::Connection {
        self.held.connection()
    }

    pub(crate) fn give_back(self) {
        if let Held::Own(connection) = self.held {
            self.slot.idle().push(connection);
        }
    }

    /// Closes the connection after an error, and says what the error means.
    pub(crate) async fn fail(self, operation: &'static str, error: sqlx::Error) -> StoreError {
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
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, operation).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", limit.as_secs());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}

impl<DB: Backend> fmt::Debug for Connections<DB> {
    /// Without the options: their `Debug` shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match &self.origin {
            Origin::Options(options) => DB::address(options),
            Origin::Pool(pool) => DB::address(&pool.connect_options()),
        };
        f.debug_struct("Connections").field("address", &address).finish_non_exhaustive()
    }
}
