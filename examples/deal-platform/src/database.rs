use anyhow::{Context, Result};
use outbox::{Config, DeliveryMode};
use sqlx::PgPool;

/// Connects, and makes the tables. In production that is a step of the deployment: your migrations, and `outbox migrate`.
pub(crate) async fn open(config: &Config) -> Result<PgPool> {
    let url =
        config.store.url.as_deref().context("OUTBOX_STORE_URL is missing: the database of the deals")?;
    let pool = PgPool::connect(url).await?;
    // No key forbids to settle a deal twice: that is what the inbox is for.
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS deals (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, amount bigint NOT NULL
         );
         CREATE TABLE IF NOT EXISTS settlements (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, deal bigint NOT NULL, amount bigint NOT NULL
         )",
    )
    .execute(&pool)
    .await?;
    if config.mode != DeliveryMode::Direct {
        config.connect_store().await?.migrate().await?;
    }
    Ok(pool)
}
