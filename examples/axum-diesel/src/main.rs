//! `POST /orders` writes an order and its event in one transaction of diesel; the relay in the same process publishes the
//! event.
//!
//! diesel's connections block, so a transaction runs on a thread for blocking work. libpq has to be installed.
//!
//! ```text
//! cargo run -p axum-diesel
//! curl -d '{"customer": "ada", "total": 1290}' -H 'content-type: application/json' localhost:3000/orders
//! ```
//!
//! * `DATABASE_URL`: PostgreSQL; `postgres://postgres@127.0.0.1:5432/postgres` by default. Everything is in the schema
//!   `axum_diesel`.
//! * `OUTBOX_TRANSPORT_URL`: where events go, for example `redis://localhost:6379`; by default to standard output.
//! * `LISTEN`: the address to serve at; `127.0.0.1:3000` by default.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use outbox::diesel::{PostgresStore, PostgresWriter};
use outbox::relay::{Relay, Waker};
use outbox::sql::TableNames;
use outbox::{Event, OutboxAdmin};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use schema::orders;

mod schema {
    diesel::table! {
        axum_diesel.orders (id) {
            id -> BigInt,
            customer -> Text,
            total -> BigInt,
        }
    }
}

type PgPool = Pool<ConnectionManager<PgConnection>>;

struct Shop {
    pool: PgPool,
    outbox: PostgresWriter,
    relay: Waker,
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

    let url = variable("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    let names = TableNames::new(Some("axum_diesel"), "")?;
    let store = PostgresStore::from_url_with_names(&url, names.clone())?;
    // These block, too, but nobody waits yet.
    let pool = PgPool::new(ConnectionManager::new(url))?;
    create_tables(&pool, &store).await?;

    let transport = outbox::connect_transport(&variable("OUTBOX_TRANSPORT_URL", "stdout:")).await?;
    let relay = Relay::shared(Arc::new(store), transport).start().await?;

    let shop = Arc::new(Shop { pool, outbox: PostgresWriter::with_names(&names), relay: relay.waker() });
    let service = Router::new().route("/orders", post(place_order)).with_state(shop);
    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3000")).await?;
    tracing::info!("serving at http://{}/orders", listener.local_addr()?);
    axum::serve(listener, service).with_graceful_shutdown(stop()).await?;

    // Now that no request can commit anything more: what is under way is finished, the shards are released.
    let stats = relay.shutdown().await?;
    tracing::info!(delivered = stats.delivered, "stopped");
    Ok(())
}

async fn place_order(
    State(shop): State<Arc<Shop>>,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<OrderPlaced>), (StatusCode, String)> {
    let placed = spawn_blocking({
        let shop = Arc::clone(&shop);
        move || shop.place(new)
    });
    match placed.await.map_err(Into::into).flatten() {
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
    /// The order and its event, both or neither: an error rolls back.
    fn place(&self, NewOrder { customer, total }: NewOrder) -> Result<OrderPlaced> {
        self.pool.get()?.transaction(|connection| {
            let order = diesel::insert_into(orders::table)
                .values((orders::customer.eq(&customer), orders::total.eq(total)))
                .returning(orders::id)
                .get_result(connection)?;
            let placed = OrderPlaced { order, customer, total };
            self.outbox.emit(connection, &placed)?;
            Ok(placed)
        })
    }
}

/// In production this is a step of the deployment: your migrations, and `outbox migrate --schema axum_diesel`.
async fn create_tables(pool: &PgPool, store: &PostgresStore) -> Result<()> {
    pool.get()?.batch_execute(
        "CREATE SCHEMA IF NOT EXISTS axum_diesel;
         CREATE TABLE IF NOT EXISTS axum_diesel.orders (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL
         )",
    )?;
    store.migrate().await?;
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
