use std::sync::Arc;

use diesel::Connection as _;
use diesel_async::AsyncConnection as _;
use outbox::MessageId;
use outbox_conformance::started;
use sea_orm::TransactionTrait as _;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};

use crate::{Orm, every_pair, in_database};

const ORMS: [Orm; 4] = [
    Orm {
        name: "sqlx",
        write: |url, messages| {
            Box::pin(async move {
                let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                outbox::sqlx::MySqlWriter::new().enqueue_all(&mut tx, &messages).await.unwrap();
                tx.commit().await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::sqlx::MySqlStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel",
        write: |url, messages| {
            let write = move || {
                let writer = outbox::diesel::MySqlWriter::new();
                let mut connection = diesel::MysqlConnection::establish(&url).unwrap();
                connection.transaction(|connection| writer.enqueue_all(connection, &messages)).unwrap();
            };
            Box::pin(async { tokio::task::spawn_blocking(write).await.unwrap() })
        },
        open: |url| Arc::new(outbox::diesel::MySqlStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel-async",
        write: |url, messages| {
            Box::pin(async move {
                let writer = outbox::diesel::AsyncMySqlWriter::new();
                let mut connection = diesel_async::AsyncMysqlConnection::establish(&url).await.unwrap();
                let write = async |connection: &mut diesel_async::AsyncMysqlConnection| {
                    writer.enqueue_all(connection, &messages).await
                };
                connection.transaction(write).await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::diesel::AsyncMySqlStore::from_url(url).unwrap()),
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
async fn mysql() {
    let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
    let url = url.as_deref().unwrap_or("mysql://root@127.0.0.1:3306");
    let server: MySqlConnectOptions = url.parse().unwrap();
    let Some(mut connection) = started("MariaDB", server.connect().await.ok()) else {
        return;
    };
    let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
    let create = format!("CREATE DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
    every_pair("MariaDB", &in_database(url, &name), &ORMS).await;
    let drop = format!("DROP DATABASE {name}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.unwrap();
}
