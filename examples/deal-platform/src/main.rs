//! The platform as a process.
//!
//! ```text
//! export OUTBOX_STORE_URL=postgres://postgres@127.0.0.1:5432/postgres OUTBOX_TRANSPORT_URL=redis://127.0.0.1:6379
//! SETTLEMENT_URL='redis://127.0.0.1:6379?group=settlement&topics=deals.closed' cargo run -p deal-platform
//! curl -d '{"customer": "ada", "amount": 1290}' -H 'content-type: application/json' localhost:3000/deals
//! curl localhost:3000/figures
//! ```
//!
//! * `OUTBOX_*`, `outbox.toml`: everything about the outbox; the database of the deals is `OUTBOX_STORE_URL`.
//! * `SETTLEMENT_URL`: where deals arrive to be settled by this process; by default it settles none.
//! * `LISTEN`: the address to serve at; `127.0.0.1:3000` by default.

#![forbid(unsafe_code)]

use std::sync::Arc;

use anyhow::Result;
use deal_platform::{Platform, routes};
use outbox::Config;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = Config::load()?;
    let settlement = std::env::var("SETTLEMENT_URL").ok().filter(|url| !url.is_empty());
    let platform = Arc::new(Platform::start(&config, settlement.as_deref()).await?);

    let listener = TcpListener::bind(std::env::var("LISTEN").as_deref().unwrap_or("127.0.0.1:3000")).await?;
    tracing::info!("serving at http://{}", listener.local_addr()?);
    let ended = platform.outbox.ended();
    let stop = async move {
        // A relay that ends by itself is a defect: whoever watches over the process starts a new one.
        tokio::select! { () = signal() => {}, _ = ended => {} }
    };
    axum::serve(listener, routes(&platform)).with_graceful_shutdown(stop).await?;

    platform.shutdown().await
}

/// Returns on Ctrl-C, and on what `docker stop` and Kubernetes send.
async fn signal() {
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
