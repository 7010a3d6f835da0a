use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use anyhow::{Result, ensure};
use outbox::OutboxMessage;
use sqlx::SqlitePool;

use crate::shop::OrderPlaced;

/// What was delivered, beside what was committed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    committed: usize,
    rolled_back: usize,
    delivered: usize,
    duplicates: usize,
    lost: usize,
    phantom: usize,
    out_of_order: usize,
}

impl Report {
    /// The truth is the table of orders: whatever is in it was committed, and nothing else was.
    pub(crate) async fn compare(pool: &SqlitePool, deliveries: &[OutboxMessage]) -> Result<Self> {
        let ids: Vec<Vec<u8>> = sqlx::query_scalar("SELECT message FROM orders").fetch_all(pool).await?;
        let mut missing: HashSet<Vec<u8>> = ids.iter().cloned().collect();
        let known: HashSet<Vec<u8>> = ids.into_iter().collect();
        let refused: i64 = sqlx::query_scalar("SELECT count(*) FROM refused").fetch_one(pool).await?;

        let mut report =
            Self { committed: known.len(), rolled_back: usize::try_from(refused)?, ..Self::default() };
        let mut last_version: BTreeMap<u32, u32> = BTreeMap::new();
        for message in deliveries {
            let id = &message.id().as_bytes()[..];
            if !known.contains(id) {
                report.phantom += 1;
            } else if !missing.remove(id) {
                report.duplicates += 1;
            } else {
                report.delivered += 1;
                // First deliveries of a customer count 1, 2, 3 …, as the transactions did.
                let placed: OrderPlaced = serde_json::from_slice(message.payload())?;
                let last = last_version.entry(placed.customer).or_default();
                if placed.version != *last + 1 {
                    report.out_of_order += 1;
                }
                *last = placed.version;
            }
        }
        report.lost = missing.len();
        Ok(report)
    }

    pub(crate) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (what, count) in [
            ("committed", self.committed),
            ("rolled back", self.rolled_back),
            ("delivered", self.delivered),
            ("duplicates", self.duplicates),
            ("lost", self.lost),
            ("phantom", self.phantom),
            ("out of order", self.out_of_order),
        ] {
            writeln!(out, "{what:<14}{count:>7}")?;
        }
        Ok(())
    }

    /// An error, and so an exit code other than 0, if the outbox broke its promise.
    pub(crate) fn verdict(&self) -> Result<()> {
        ensure!(
            (self.lost, self.phantom, self.out_of_order) == (0, 0, 0),
            "events were lost, made up or out of order"
        );
        ensure!(
            self.committed > 0 && self.rolled_back > 0,
            "nothing was tested: no orders, or none rolled back"
        );
        Ok(())
    }
}
