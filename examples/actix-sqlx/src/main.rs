//! `POST /orders` writes an order and its event in one transaction; the relay in the same process publishes the event.
//!
//! A transaction that meets a deadlock is run again, from its start and without what it had emitted.
//!
//! ```text
//! cargo run -p actix-sqlx
//! curl -d '{"customer": "ada", "total": 1290}' -H 'content-type: application/json' localhost:3000/orders
//! ```
//!
//! * `DATABASE_URL`: MariaDB or MySQL; `mysql://root@127.0.0.1:3306/test` by default. The names of all tables begin with
//!   `actix_sqlx_`.
//! * `OUTBOX_TRANSPORT_URL`: where events go, for example `nats://localhost:4222?stream=ORDERS&create=true&subjects=orders.>`;
//!   by default to standard output.
//! * `LISTEN`: the address to serve at; `127.0.0.1:3000` by default.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, post};
use outbox::relay::Relay;
use outbox::sql::TableNames;
use outbox::sqlx::{MySqlStore, MySqlWriter, TransactionError};
use outbox::{Event, MessageError, OutboxAdmin, TransactionPolicy};
use serde::{Deserialize, Serialize};
use sqlx::MySqlPool;

struct Shop {
    pool: MySqlPool,
    outbox: MySqlWriter,
}

#[derive(Deserialize)]
struct NewOrder {
    customer: String,
    total: i64,
}

/// What is answered, and what is published.
#[derive(Serialize)]
struct OrderPlaced {
    order: u64,
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

/// Why an order could not be placed. With the causes as sources, a conflict is recognized whichever way it came.
#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
    #[error("no event: {0}")]
    Event(#[from] MessageError),
    #[error("{0}")]
    Transaction(#[from] TransactionError),
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    // Standard output may be the broker.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();

    let pool = MySqlPool::connect(&variable("DATABASE_URL", "mysql://root@127.0.0.1:3306/test")).await?;
    let names = TableNames::new(None, "actix_sqlx_")?;
    let store = MySqlStore::with_names(&pool, names.clone());
    create_tables(&pool, &store).await?;

    let transport = outbox::connect_transport(&variable("OUTBOX_TRANSPORT_URL", "stdout:")).await?;
    let relay = Relay::shared(Arc::new(store), transport).start().await?;

    // After a commit the event is on its way within a millisecond, not at the relay's next look.
    let waker = relay.waker();
    let outbox = MySqlWriter::with_names(&names).after_commit(move || waker.wake());
    let shop = Data::new(Shop { pool, outbox });
    let server = HttpServer::new(move || App::new().app_data(shop.clone()).service(place_order))
        .bind(variable("LISTEN", "127.0.0.1:3000"))?;
    for address in server.addrs() {
        tracing::info!("serving at http://{address}/orders");
    }
    // Returns on what `docker stop` and Kubernetes send, when all requests are answered, and at once on Ctrl-C.
    server.run().await?;

    // Now that no request can commit anything more: what is under way is finished, the shards are released.
    let stats = relay.shutdown().await?;
    tracing::info!(delivered = stats.delivered, "stopped");
    Ok(())
}

#[post("/orders")]
async fn place_order(shop: Data<Shop>, new: Json<NewOrder>) -> Result<HttpResponse, PlaceError> {
    let placed = shop.place(&new).await?;
    Ok(HttpResponse::Created().json(placed))
}

impl Shop {
    /// The order and its event, both or neither. An error rolls back, and a conflict begins anew.
    async fn place(&self, NewOrder { customer, total }: &NewOrder) -> Result<OrderPlaced, PlaceError> {
        self.outbox
            .transaction(&self.pool, TransactionPolicy::new(), async |tx| {
                let inserted = sqlx::query("INSERT INTO actix_sqlx_orders (customer, total) VALUES (?, ?)")
                    .bind(customer)
                    .bind(total)
                    .execute(&mut **tx)
                    .await?;
                let order = inserted.last_insert_id();
                let placed = OrderPlaced { order, customer: customer.clone(), total: *total };
                tx.emit(&placed)?;
                Ok(placed)
            })
            .await
    }
}

impl ResponseError for PlaceError {
    fn error_response(&self) -> HttpResponse {
        tracing::error!(error = %self, "an order could not be placed");
        HttpResponse::build(StatusCode::INTERNAL_SERVER_ERROR).body("try again later\n")
    }
}

/// In production this is a step of the deployment: your migrations, and `outbox migrate --prefix actix_sqlx_`.
async fn create_tables(pool: &MySqlPool, store: &MySqlStore) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS actix_sqlx_orders (
             id bigint AUTO_INCREMENT PRIMARY KEY, customer text NOT NULL, total bigint NOT NULL
         )",
    )
    .execute(pool)
    .await?;
    store.migrate().await?;
    Ok(())
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
