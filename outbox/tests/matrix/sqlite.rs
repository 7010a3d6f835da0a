use std::sync::Arc;

use diesel::Connection as _;
use diesel_async::AsyncConnection as _;
use sea_orm::TransactionTrait as _;
use sqlx::Connection as _;

use crate::{Orm, every_pair};

const ORMS: [Orm; 4] = [
    Orm {
        name: "sqlx",
        write: |url, messages| {
            Box::pin(async move {
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let mut tx = connection.begin().await.unwrap();
                outbox::sqlx::SqliteWriter::new().enqueue_all(&mut tx, &messages).await.unwrap();
                tx.commit().await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::sqlx::SqliteStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel",
        write: |url, messages| {
            let write = move || {
                let writer = outbox::diesel::SqliteWriter::new();
                let mut connection = diesel::SqliteConnection::establish(&url).unwrap();
                connection.transaction(|connection| writer.enqueue_all(connection, &messages)).unwrap();
            };
            Box::pin(async { tokio::task::spawn_blocking(write).await.unwrap() })
        },
        open: |url| Arc::new(outbox::diesel::SqliteStore::from_url(url).unwrap()),
    },
    Orm {
        name: "diesel-async",
        write: |url, messages| {
            Box::pin(async move {
                let writer = outbox::diesel::AsyncSqliteWriter::new();
                let mut connection = outbox::diesel::AsyncSqliteConnection::establish(&url).await.unwrap();
                let write = async |connection: &mut outbox::diesel::AsyncSqliteConnection| {
                    writer.enqueue_all(connection, &messages).await
                };
                connection.transaction(write).await.unwrap();
            })
        },
        open: |url| Arc::new(outbox::diesel::AsyncSqliteStore::from_url(url).unwrap()),
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
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    every_pair("SQLite", &format!("sqlite://{}?mode=rwc", file.display()), &ORMS).await;
}
