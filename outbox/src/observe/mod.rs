//! Metrics and health over HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever restarts and routes.
//!
//! ```no_run
//! # async fn run(
//! #     relay: outbox::relay::Relay,
//! #     store: std::sync::Arc<dyn outbox::Store>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use outbox::observe::Observer;
//!
//! let relay = relay.start().await?;
//! let observing = Observer::new().relay(&relay).store(store).serve(([0, 0, 0, 0], 9464)).await?;
//! // … the service runs …
//! relay.shutdown().await?;
//! observing.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! * `/metrics`: everything that was recorded by the crate `metrics` in this process, in the text format of Prometheus.
//!   The names are in [`names`](crate::relay::metrics::names); a dashboard and alert rules are in `docs/observability`.
//! * `/healthz`: 200 while the process and the tasks of its relays live, else 503: restart it.
//! * `/readyz`: 200 if it can do its work, else 503, with the reasons as JSON ([`Readiness`]). A broker that is not
//!   available is told there and does not make it unready, unless [`Observer::brokers_required`] says so: messages wait
//!   for it in the outbox, and that is what the outbox is for.
//!
//! Answers come from memory. No request asks the database or a broker, so none can hang or add to an outage.

mod check;
mod error;
mod exporter;
mod observer;
mod readiness;
mod schema;
mod server;

pub use check::{Check, CheckState};
pub use error::ObserveError;
pub use exporter::prometheus_builder;
pub use observer::Observer;
pub use readiness::Readiness;
pub use server::Observing;
#[cfg(feature = "config")]
pub(crate) use server::Sources;
