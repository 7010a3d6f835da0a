use std::sync::Arc;

use anyhow::Result;
use outbox::relay::{Relay, RelayConfig, RelayHandle};
use outbox::sqlx::SqliteStore;
use sqlx::SqlitePool;

/// Pushes what is in the outbox to the list at a URL: `redis://localhost:6379?mode=list`. `outbox relay` does the same in a
/// process of its own.
///
/// # Errors
///
/// If the URL or the configuration is wrong, or the database was not migrated. A Redis that is away is no error.
pub async fn relay(pool: &SqlitePool, url: &str, tune: impl FnOnce(&mut RelayConfig)) -> Result<RelayHandle> {
    let transport = outbox::connect_transport(url).await?;
    let relay = Relay::shared(Arc::new(SqliteStore::new(pool)), transport);
    Ok(relay.configure(tune).start().await?)
}
