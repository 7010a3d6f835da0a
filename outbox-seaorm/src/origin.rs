use std::fmt;

use futures_util::future::BoxFuture;
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Dialect;
use sea_orm::{DatabaseConnection, DatabaseConnectionType, DbBackend, DbErr};

use crate::connections::{Connections, Held};
use crate::error::store_error;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use crate::server::Server;

/// Where the connections of a store come from: the database that was chosen at run time.
pub(crate) trait Origin: Send + Sync {
    /// Its SQL.
    fn dialect(&self) -> Dialect;

    /// Where it is, without user and password.
    fn address(&self) -> String;

    /// Opens one more connection.
    fn open(&self) -> BoxFuture<'_, Result<Held, StoreError>>;

    /// Looks, once, for what would make the relay work badly here.
    fn examine<'a>(&'a self, connections: &'a Connections) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// The database that a connection of the user's leads to.
pub(crate) fn of(connection: &DatabaseConnection) -> Box<dyn Origin> {
    use DatabaseConnectionType as Type;
    match &connection.inner {
        #[cfg(feature = "postgres")]
        Type::SqlxPostgresPoolConnection(_) => {
            Box::new(Server::of_pool(connection.get_postgres_connection_pool(), connection))
        }
        #[cfg(feature = "mysql")]
        Type::SqlxMySqlPoolConnection(_) => {
            Box::new(Server::of_pool(connection.get_mysql_connection_pool(), connection))
        }
        #[cfg(feature = "sqlite")]
        Type::SqlxSqlitePoolConnection(_) => {
            Box::new(Server::of_pool(connection.get_sqlite_connection_pool(), connection))
        }
        Type::Disconnected => Box::new(Nowhere { dialect: Dialect::Postgres, error: disconnected() }),
        // With the feature of another crate there are more kinds, and those of tests.
        #[allow(unreachable_patterns, reason = "depends on the features of sea-orm")]
        _ => {
            let backend = connection.get_database_backend();
            Box::new(Nowhere { dialect: dialect(backend), error: feature_off(backend) })
        }
    }
}

/// The database at a URL. The text of the error does not repeat the URL.
pub(crate) fn at(url: &str) -> Result<Box<dyn Origin>, StoreError> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let invalid = |error| store_error("connect", error);
    match scheme {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            Ok(Box::new(Server::<sea_orm::sqlx::Postgres>::at(url).map_err(invalid)?))
        }
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Box::new(Server::<sea_orm::sqlx::MySql>::at(url).map_err(invalid)?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(Server::<sea_orm::sqlx::Sqlite>::at(url).map_err(invalid)?)),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(invalid(feature_off(DbBackend::Postgres))),
        #[cfg(not(feature = "mysql"))]
        "mysql" | "mariadb" => Err(invalid(feature_off(DbBackend::MySql))),
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(invalid(feature_off(DbBackend::Sqlite))),
        _ => {
            let text = "the URL begins with none of postgres:, mysql:, sqlite:";
            Err(StoreError::new(StoreErrorKind::Invalid, "connect", text))
        }
    }
}

/// The kind of database that a connection leads to.
pub(crate) fn backend(connection: &DatabaseConnection) -> Result<DbBackend, DbErr> {
    // sea-orm panics at the question.
    if matches!(connection.inner, DatabaseConnectionType::Disconnected) {
        return Err(disconnected());
    }
    Ok(connection.get_database_backend())
}

fn disconnected() -> DbErr {
    DbErr::Custom("the connection is disconnected: it leads to no database".to_owned())
}

/// A connection to a database whose feature is off.
pub(crate) fn feature_off(backend: DbBackend) -> DbErr {
    let ctx = match backend {
        DbBackend::Postgres if cfg!(not(feature = "postgres")) => {
            "outbox-seaorm was built without its feature `postgres`"
        }
        DbBackend::MySql if cfg!(not(feature = "mysql")) => {
            "outbox-seaorm was built without its feature `mysql`"
        }
        DbBackend::Sqlite if cfg!(not(feature = "sqlite")) => {
            "outbox-seaorm was built without its feature `sqlite`"
        }
        _ => "outbox-seaorm needs a connection pool of sqlx",
    };
    DbErr::BackendNotSupported { db: backend.as_str(), ctx }
}

/// Its SQL.
pub(crate) fn dialect(backend: DbBackend) -> Dialect {
    match backend {
        DbBackend::MySql => Dialect::MySql,
        DbBackend::Sqlite => Dialect::Sqlite,
        _ => Dialect::Postgres,
    }
}

/// What a connection leads to that a store can't use. Each operation says why.
struct Nowhere {
    dialect: Dialect,
    error: DbErr,
}

impl Origin for Nowhere {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn address(&self) -> String {
        "nowhere".to_owned()
    }

    fn open(&self) -> BoxFuture<'_, Result<Held, StoreError>> {
        let text = self.error.to_string();
        let error = StoreError::new(StoreErrorKind::Invalid, "connect", text).with_source(self.error.clone());
        Box::pin(async { Err(error) })
    }

    fn examine<'a>(&'a self, _connections: &'a Connections) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for dyn Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}
