//! `POST /orders` writes an order and its event in one transaction of sea-orm; the relay in the same process publishes the
//! event.
//!
//! The answer is JSON, and the event is Protobuf: how events are written is a type of yours, here [`Protobuf`].
//!
//! ```text
//! cargo run -p axum-seaorm
//! curl -d '{"customer": "ada", "total": 1290}' -H 'content-type: application/json' localhost:3000/orders
//! ```
//!
//! * `DATABASE_URL`: PostgreSQL; `postgres://postgres@127.0.0.1:5432/postgres` by default. Everything is in the schema
//!   `axum_seaorm`.
//! * `OUTBOX_TRANSPORT_URL`: where events go, for example `amqp://localhost?create=true`; by default to standard output.
//! * `LISTEN`: the address to serve at; `127.0.0.1:3000` by default.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use outbox::bytes::Bytes;
use outbox::relay::{Relay, Waker};
use outbox::seaorm::{SeaOrmStore, SeaOrmWriter};
use outbox::sql::TableNames;
use outbox::{BoxError, Event, EventCodec, OutboxAdmin};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[expect(unreachable_pub, reason = "the types that sea-orm derives are public, and so must this one be")]
mod order {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(schema_name = "axum_seaorm", table_name = "orders")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub customer: String,
        pub total: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

struct Shop {
    db: DatabaseConnection,
    outbox: SeaOrmWriter,
    relay: Waker,
}

#[derive(Deserialize)]
struct NewOrder {
    customer: String,
    total: i64,
}

/// What is answered, and what is published.
#[derive(Serialize, prost::Message)]
struct OrderPlaced {
    #[prost(int64, tag = "1")]
    order: i64,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(int64, tag = "3")]
    total: i64,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = "orders.placed";
    type Codec = Protobuf;

    /// What happens to one customer arrives in its order.
    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.customer.as_str().into())
    }
}

/// Events as messages of Protobuf.
struct Protobuf;

impl<E: prost::Message> EventCodec<E> for Protobuf {
    const CONTENT_TYPE: &'static str = "application/protobuf";

    fn encode(event: &E) -> Result<Bytes, BoxError> {
        Ok(event.encode_to_vec().into())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Standard output may be the broker.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();

    let url = variable("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    // Without sqlx's own log, in which each statement is a line.
    let db = Database::connect(ConnectOptions::new(url).sqlx_logging(false).to_owned()).await?;
    let names = TableNames::new(Some("axum_seaorm"), "")?;
    let store = SeaOrmStore::with_names(&db, names.clone());
    create_tables(&db, &store).await?;

    let transport = outbox::connect_transport(&variable("OUTBOX_TRANSPORT_URL", "stdout:")).await?;
    let relay = Relay::shared(Arc::new(store), transport).start().await?;

    let shop = Arc::new(Shop { db, outbox: SeaOrmWriter::with_names(&names), relay: relay.waker() });
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
        let tx = self.db.begin().await?;
        let order = order::ActiveModel { customer: Set(customer), total: Set(total), ..Default::default() };
        let order::Model { id, customer, total } = order.insert(&tx).await?;
        let placed = OrderPlaced { order: id, customer, total };
        self.outbox.emit(&tx, &placed).await?;
        tx.commit().await?;
        Ok(placed)
    }
}

/// In production this is a step of the deployment: your migrations, and `outbox migrate --schema axum_seaorm`.
async fn create_tables(db: &DatabaseConnection, store: &SeaOrmStore) -> Result<()> {
    db.execute_unprepared(
        "CREATE SCHEMA IF NOT EXISTS axum_seaorm;
         CREATE TABLE IF NOT EXISTS axum_seaorm.orders (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL
         )",
    )
    .await?;
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
