use futures_util::future::BoxFuture;
use outbox_core::StoreError;
use outbox_sql::Dialect;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, PgPool, Postgres, Row};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};

use super::pooler;
use crate::connections::Connections;
use crate::decode::Kind;
use crate::query::safe;
use crate::server::{Backend, Seen};

/// What an operator sees in `pg_stat_activity`.
const APPLICATION: &str = "outbox-relay";

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;

    fn address(options: &PgConnectOptions) -> String {
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        match options.get_socket() {
            Some(socket) => format!("postgres database {database} at {}", socket.display()),
            None => format!("postgres database {database} at {}:{}", options.get_host(), options.get_port()),
        }
    }

    fn relay_options(options: &PgConnectOptions) -> PgConnectOptions {
        options.clone().application_name(APPLICATION)
    }

    /// sea-orm's `schema_search_path` is set by the pool, and the user's migrations and writers find the tables by it.
    fn look(pool: &PgPool) -> BoxFuture<'_, Result<Seen, sqlx::Error>> {
        Box::pin(async move {
            let row = sqlx::raw_sql("SHOW search_path").fetch_one(pool).await?;
            let path = row.try_get::<&str, _>(0)?.replace('\'', "''");
            let setting = format!("SELECT set_config('search_path', '{path}', false)");
            Ok(Seen { only_in_pool: false, settings: vec![setting] })
        })
    }

    fn run(connection: &mut PgConnection, sql: String) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move { sqlx::raw_sql(safe(sql)).execute(connection).await.map(drop) })
    }

    fn wrap(pool: PgPool) -> DatabaseConnection {
        SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
    }

    fn examine(connections: &Connections) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(pooler::refuse(connections))
    }
}

/// What a value of a small result is read as.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    match name {
        "INT8" | "INT4" | "INT2" => Some(Kind::I64),
        "TEXT" | "VARCHAR" | "NAME" => Some(Kind::Text),
        "BYTEA" | "UUID" => Some(Kind::Bytes),
        _ => None,
    }
}
