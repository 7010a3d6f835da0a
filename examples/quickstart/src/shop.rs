use std::path::Path;

use anyhow::Result;
use outbox::sqlx::SqliteWriter;
use outbox::{MessageId, OutboxMessage};
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqlitePool, Transaction};

const CUSTOMERS: u32 = 100;

/// The event: the customer's 3rd order has been placed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    pub(crate) order: u32,
    pub(crate) customer: u32,
    pub(crate) version: u32,
}

/// What has become of an order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    Committed,
    Refused,
}

/// The business: it knows its own tables, and one thing of the outbox, the writer.
pub(crate) struct Shop {
    pool: SqlitePool,
    // It takes one order after the other, so one connection is enough, and is quicker than asking the pool each time.
    connection: PoolConnection<Sqlite>,
    outbox: SqliteWriter,
}

impl Shop {
    pub(crate) async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A file that is gone in five seconds need not survive a power cut; yours should keep the default.
            .synchronous(SqliteSynchronous::Off);
        let pool = SqlitePool::connect_with(options).await?;
        sqlx::raw_sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, version INTEGER NOT NULL, \
                                  message BLOB NOT NULL, UNIQUE (customer, version))",
        )
        .execute(&pool)
        .await?;
        Ok(Self { connection: pool.acquire().await?, pool, outbox: SqliteWriter::new() })
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Every tenth order is refused, after its event was written: the rollback takes both away. Some others fail the
    /// first time and are tried again from the start, as after a serialization failure or a deadlock.
    pub(crate) async fn place_order(&mut self, number: u32) -> Result<Placed> {
        let fails_first = number % 97 == 1;
        if fails_first {
            self.write_order(number).await?.rollback().await?;
        }
        let tx = self.write_order(number).await?;
        if number % 10 == 3 {
            tx.rollback().await?;
            return Ok(Placed::Refused);
        }
        tx.commit().await?;
        Ok(Placed::Committed)
    }

    /// One transaction: the order and its event, both or neither.
    async fn write_order(&mut self, order: u32) -> Result<Transaction<'_, Sqlite>> {
        // IMMEDIATE: a transaction that reads first and writes then would fail if another had written in between.
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let customer = order % CUSTOMERS;
        let id = MessageId::new();
        let version: u32 = sqlx::query_scalar(
            "INSERT INTO orders (id, customer, version, message) \
             SELECT ?1, ?2, count(*) + 1, ?3 FROM orders WHERE customer = ?2 RETURNING version",
        )
        .bind(order)
        .bind(customer)
        .bind(&id.as_bytes()[..])
        .fetch_one(&mut *tx)
        .await?;

        // The events of a customer are delivered in the order of their transactions; those of others don't wait.
        let placed = OrderPlaced { order, customer, version };
        let message = OutboxMessage::json("orders.placed", &placed)?.id(id).ordering_key(customer).build()?;
        self.outbox.enqueue(&mut tx, &message).await?;
        Ok(tx)
    }
}
