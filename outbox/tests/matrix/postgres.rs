use std::sync::Arc;

use diesel::Connection as _;
use diesel_async::AsyncConnection as _;
use outbox::MessageId;
use outbox_conformance::started;
use sea_orm::TransactionTrait as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};

use crate::{Orm, every_pair, in_database};

const ORMS: [Orm; 4] = [
    Orm {
        name: "sqlx",
        write: |url, messages| {
            Box::pin(async move {
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                outbox::sqlx::PostgresWriter::new().enqueue_all(&mut tx, &messages).await.unwrap();
                tx.commit().await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::sqlx::PostgresStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel",
        write: |url, messages| {
            let write = move || {
                let writer = outbox::diesel::PostgresWriter::new();
                let mut connection = diesel::PgConnection::establish(&url).unwrap();
                connection.transaction(|connection| writer.enqueue_all(connection, &messages)).unwrap();
            };
            Box::pin(async { tokio::task::spawn_blocking(write).await.unwrap() })
        },
        open: |url| Arc::new(outbox::diesel::PostgresStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel-async",
        write: |url, messages| {
            Box::pin(async move {
                let writer = outbox::diesel::AsyncPostgresWriter::new();
                let mut connection = diesel_async::AsyncPgConnection::establish(&url).await.unwrap();
                let write = async |connection: &mut diesel_async::AsyncPgConnection| {
                    writer.enqueue_all(connection, &messages).await
                };
                connection.transaction(write).await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::diesel::AsyncPostgresStore::from_url(url).unwrap()),
    },
    Orm {
        name: "sea-orm",
        write: |url, messages| {
            Box::pin(async move {
                let database = sea_orm::Database::connect(url).await.unwrap();
                let tx = database.begin().await.unwrap();
                outbox::seaorm::SeaOrmWriter::new().enqueue_all(&tx, &messages).await.unwrap();
                tx.commit().await.unwrap();
                database.close().await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::seaorm::SeaOrmStore::from_url(url).unwrap()),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    let url = url.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
    let server: PgConnectOptions = url.parse().unwrap();
    let Some(mut connection) = started("PostgreSQL", server.connect().await.ok()) else {
        return;
    };
    let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    every_pair("PostgreSQL", &in_database(url, &name), &ORMS).await;
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
}
