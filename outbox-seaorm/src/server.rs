use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use outbox_core::StoreError;
use outbox_sql::Dialect;
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::{self, ConnectOptions, Connection, Database, Pool};
use sea_orm::{DatabaseConnection, DbErr};
use tokio::sync::OnceCell;

use crate::connections::{Connections, Held, within};
use crate::error::connect_error;
use crate::origin::Origin;
use crate::sqlx_error::connecting;

/// How long opening a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a pool tries to connect before it is asked in another way what is wrong.
const PATIENCE: Duration = Duration::from_millis(500);

/// The options a connection is opened with.
pub(crate) type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// What differs between the databases when a connection is opened. sea-orm has no way to set up one connection, so this
/// is done with the sqlx below it.
pub(crate) trait Backend: Database {
    /// Its SQL.
    const DIALECT: Dialect;

    /// Where these options lead to, without user and password.
    fn address(options: &Options<Self>) -> String;

    /// What a connection of the relay is opened with, where it differs from the user's.
    fn relay_options(options: &Options<Self>) -> Options<Self> {
        options.clone()
    }

    /// What of the user's pool is not in its options.
    fn look(_pool: &Pool<Self>) -> BoxFuture<'_, Result<Seen, sqlx::Error>> {
        Box::pin(async { Ok(Seen::default()) })
    }

    /// Runs a statement without parameters, and prepares nothing.
    fn run(connection: &mut Self::Connection, sql: String) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// A pool as a connection of sea-orm.
    fn wrap(pool: Pool<Self>) -> DatabaseConnection;

    /// Looks, once, for what would make the relay work badly here.
    fn examine(_connections: &Connections) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// What was seen in the user's pool.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The database exists in the pool's own connections only (SQLite in memory).
    pub(crate) only_in_pool: bool,
    /// What the pool's connections have set and the relay's need, too.
    pub(crate) settings: Vec<String>,
}

/// A database of one kind, and how to open connections to it.
pub(crate) struct Server<DB: Backend> {
    source: Source<DB>,
    seen: OnceCell<Seen>,
}

enum Source<DB: Backend> {
    Options(Box<Options<DB>>),
    /// The options are read again for each connection: a pool may be given a new password while it runs.
    Pool(Pool<DB>, DatabaseConnection),
}

impl<DB: Backend> Server<DB> {
    pub(crate) fn at(url: &str) -> Result<Self, DbErr> {
        let options = Options::<DB>::from_str(url).map_err(connecting)?;
        Ok(Self { source: Source::Options(Box::new(options)), seen: OnceCell::new() })
    }

    pub(crate) fn of_pool(pool: &Pool<DB>, connection: &DatabaseConnection) -> Self {
        Self { source: Source::Pool(pool.clone(), connection.clone()), seen: OnceCell::new() }
    }

    fn options(&self) -> Options<DB> {
        quiet(match &self.source {
            Source::Options(options) => DB::relay_options(options),
            Source::Pool(pool, _) => DB::relay_options(&pool.connect_options()),
        })
    }

    async fn connect(&self) -> Result<Held, sqlx::Error> {
        let options = self.options();
        let mut settings: Vec<_> = DB::DIALECT.session_settings().iter().map(|&sql| sql.to_owned()).collect();
        if let Source::Pool(pool, connection) = &self.source {
            let look = || patiently::<DB, _>(&options, &[], DB::look(pool));
            let seen = self.seen.get_or_try_init(look).await?;
            if seen.only_in_pool {
                return Ok(Held::Shared(connection.clone()));
            }
            settings.extend_from_slice(&seen.settings);
        }
        let settings: Arc<[String]> = settings.into();
        let pool = single::<DB>(options.clone(), Arc::clone(&settings));
        patiently::<DB, _>(&options, &settings, pool.acquire()).await?;
        Ok(Held::Own(DB::wrap(pool)))
    }
}

/// sea-orm logs every statement at the level INFO unless it is told otherwise. That is too much for a relay, which polls.
fn quiet<O: ConnectOptions>(options: O) -> O {
    match "debug".parse() {
        Ok(level) => options.log_statements(level),
        Err(_) => options,
    }
}

/// A pool of a single connection, which sea-orm takes for a connection. Nothing in it is ever opened or closed because
/// of the time that has passed.
fn single<DB: Backend>(options: Options<DB>, settings: Arc<[String]>) -> Pool<DB> {
    PoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        .acquire_timeout(CONNECT_LIMIT)
        .after_connect(move |connection, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move { set_up::<DB>(connection, &settings).await })
        })
        .connect_lazy_with(options)
}

async fn set_up<DB: Backend>(
    connection: &mut DB::Connection,
    settings: &[String],
) -> Result<(), sqlx::Error> {
    for setting in settings {
        DB::run(connection, setting.clone()).await?;
    }
    Ok(())
}

/// A pool that can't connect tries again and again, and keeps the reason to itself. So, after a while, a connection
/// outside of the pool shows it.
async fn patiently<DB: Backend, T>(
    options: &Options<DB>,
    settings: &[String],
    operation: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let mut operation = Box::pin(operation);
    if let Ok(done) = tokio::time::timeout(PATIENCE, &mut operation).await {
        return done;
    }
    let mut connection = options.connect().await?;
    set_up::<DB>(&mut connection, settings).await?;
    connection.close().await?;
    operation.await
}

impl<DB: Backend> Origin for Server<DB> {
    fn dialect(&self) -> Dialect {
        DB::DIALECT
    }

    fn address(&self) -> String {
        DB::address(&self.options())
    }

    fn open(&self) -> BoxFuture<'_, Result<Held, StoreError>> {
        Box::pin(async {
            let connect = async { self.connect().await.map_err(connecting) };
            within(CONNECT_LIMIT, connect).await.map_err(|error| connect_error(&self.address(), error))
        })
    }

    fn examine<'a>(&'a self, connections: &'a Connections) -> BoxFuture<'a, Result<(), StoreError>> {
        DB::examine(connections)
    }
}

impl<DB: Backend> fmt::Debug for Server<DB> {
    /// Without the options: their `Debug` shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}
