use anyhow::{Context, Result};
use sqlx::migrate::MigrateDatabase;
use sqlx::{PgPool, Postgres, SqlitePool};

use outbox::OutboxAdmin;
use outbox::seaorm::SeaOrmStore;
use outbox::sqlx::{PostgresStore, SqliteStore};

use super::Missing;
use crate::run::Run;
use crate::service::{billing, orders, shipping};

/// The databases of the services, to look into.
pub(super) struct Databases {
    run: Run,
    pub(super) orders: PgPool,
    pub(super) billing: PgPool,
    pub(super) shipping: SqlitePool,
}

/// How far everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) placed: i64,
    pub(super) billed: i64,
    pub(super) shipped: i64,
    /// Messages that wait in any outbox.
    pub(super) outboxes: i64,
}

const WAITING: &str =
    "SELECT (SELECT count(*) FROM outbox_messages) + (SELECT count(*) FROM outbox_deferred)";

impl Databases {
    /// Makes all of them, with their tables. In production: your migrations, and `outbox migrate`.
    pub(super) async fn create(run: &Run) -> Result<Self> {
        let missing = |error: sqlx::Error| Missing {
            service: "PostgreSQL",
            variable: Run::POSTGRES,
            error: error.to_string(),
        };
        let (orders_url, billing_url) = (run.database(orders::NAME)?, run.database(billing::NAME)?);
        Postgres::create_database(&orders_url).await.map_err(missing)?;
        Postgres::create_database(&billing_url).await.map_err(missing)?;

        let orders = PgPool::connect(&orders_url).await?;
        sqlx::raw_sql(orders::TABLES).execute(&orders).await?;
        PostgresStore::new(&orders).migrate().await?;

        let billing = PgPool::connect(&billing_url).await?;
        sqlx::raw_sql(billing::TABLES).execute(&billing).await?;
        SeaOrmStore::connect(&billing_url).await?.migrate().await?;

        let shipping = shipping::connect(&run.shipping_file()).await?;
        sqlx::raw_sql(shipping::TABLES).execute(&shipping).await?;
        SqliteStore::new(&shipping).migrate().await?;
        Ok(Self { run: run.clone(), orders, billing, shipping })
    }

    pub(super) const fn run(&self) -> &Run {
        &self.run
    }

    pub(super) async fn counts(&self) -> Result<Counts> {
        let placed = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&self.orders).await?;
        let billed = sqlx::query_scalar("SELECT count(*) FROM bills").fetch_one(&self.billing).await?;
        let shipped = sqlx::query_scalar("SELECT count(*) FROM history WHERE event = 'shipped'");
        let shipped = shipped.fetch_one(&self.orders).await?;
        let mut outboxes: i64 = sqlx::query_scalar(WAITING).fetch_one(&self.orders).await?;
        outboxes += sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&self.billing).await?;
        outboxes += sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&self.shipping).await?;
        Ok(Counts { placed, billed, shipped, outboxes })
    }
}

/// Removes what was made on the server; files go with their folder.
pub(super) async fn remove(run: &Run) -> Result<()> {
    for service in [orders::NAME, billing::NAME] {
        let url = run.database(service)?;
        if Postgres::database_exists(&url).await? {
            Postgres::force_drop_database(&url)
                .await
                .with_context(|| format!("the database of {service} is left behind"))?;
        }
    }
    Ok(())
}
