//! `POST /orders` writes an order and its event in one transaction; the relay in the same process publishes the event.
//!
//! ```text
//! cargo run -p orders-axum
//! curl -d '{"customer": "ada", "total": 1290}' -H 'content-type: application/json' localhost:3000/orders
//! ```
//!
//! * `DATABASE_URL`: PostgreSQL; `postgres://postgres@127.0.0.1:5432/postgres` by default. Everything is in the schema
//!   `orders_axum`.
//! * `OUTBOX_TRANSPORT_URL`: where events go, for example `nats://localhost:4222?stream=ORDERS&create=true&subjects=orders.>`;
//!   by default to standard output. Every other key of the outbox has a variable, too: `OUTBOX_PROCESSOR_ENABLED=false`
//!   leaves the relaying to another process, `OUTBOX_METRICS_ENABLED=true` serves metrics and health.
//! * `LISTEN`: the address to serve at; `127.0.0.1:3000` by default.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use outbox::sqlx::PostgresWriter;
use outbox::{Config, Event, OutboxWaker};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::net::TcpListener;

struct Shop {
    pool: PgPool,
    outbox: PostgresWriter,
    relay: OutboxWaker,
}

#[derive(Deserialize)]
struct NewOrder {
    customer: String,
    total: i64,
}

/// What is answered, and what is published.
#[derive(Serialize)]
struct OrderPlaced {
    order: i64,
    customer: String,
    total: i64,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = "orders.placed";
    type Codec = outbox::Json;

    /// What happens to one customer arrives in its order.
    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.customer.as_str().into())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Standard output may be the broker.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();

    let database = variable("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    let pool = PgPool::connect(&database).await?;
    let mut config = Config::load()?;
    config.store.url = Some(database);
    config.store.schema = Some("orders_axum".to_owned());
    config.transport.url.get_or_insert_with(|| "stdout:".to_owned());
    create_tables(&pool, &config).await?;

    let outbox = config.start().await?;
    let writer = PostgresWriter::with_names(&config.table_names()?);
    let shop = Arc::new(Shop { pool, outbox: writer, relay: outbox.waker() });
    let service = Router::new().route("/orders", post(place_order)).with_state(shop);
    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3000")).await?;
    tracing::info!("serving at http://{}/orders", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(stop()).await?;

    // Now that no request can commit anything more: what is under way is finished, the shards are released.
    let stats = outbox.shutdown().await?;
    tracing::info!(delivered = stats.delivered, "stopped");
    Ok(())
}

async fn place_order(
    State(shop): State<Arc<Shop>>,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<OrderPlaced>), (StatusCode, String)> {
    match shop.place(new).await {
        Ok(placed) => {
            // After the commit: the event is on its way within a millisecond, not at the relay's next look.
            shop.relay.wake();
            Ok((StatusCode::CREATED, Json(placed)))
        }
        Err(error) => {
            tracing::error!(%error, "an order could not be placed");
            Err((StatusCode::INTERNAL_SERVER_ERROR, "try again later\n".to_owned()))
        }
    }
}

impl Shop {
    /// The order and its event, both or neither. On an early return `tx` is dropped, which rolls back.
    async fn place(&self, NewOrder { customer, total }: NewOrder) -> Result<OrderPlaced> {
        let mut tx = self.pool.begin().await?;
        let order = sqlx::query_scalar(
            "INSERT INTO orders_axum.orders (customer, total) VALUES ($1, $2) RETURNING id",
        )
        .bind(&customer)
        .bind(total)
        .fetch_one(&mut *tx)
        .await?;
        let placed = OrderPlaced { order, customer, total };
        self.outbox.emit(&mut tx, &placed).await?;
        tx.commit().await?;
        Ok(placed)
    }
}

/// In production this is a step of the deployment: your migrations, and `outbox migrate --schema orders_axum`.
async fn create_tables(pool: &PgPool, config: &Config) -> Result<()> {
    sqlx::raw_sql(
        "CREATE SCHEMA IF NOT EXISTS orders_axum;
         CREATE TABLE IF NOT EXISTS orders_axum.orders (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL
         )",
    )
    .execute(pool)
    .await?;
    config.connect_store().await?.migrate().await?;
    Ok(())
}

/// Returns on Ctrl-C, and on what `docker stop` and Kubernetes send.
async fn stop() {
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate => {}
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
