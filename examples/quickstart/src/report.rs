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

        let mut report = Self { committed: known.len(), ..Self::default() };
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

    pub(crate) fn print(&self, rolled_back: usize) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (what, count) in [
            ("committed", self.committed),
            ("rolled back", rolled_back),
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
        ensure!(self.committed > 0, "nothing was tested: there are no orders");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::sqlite::SqlitePoolOptions;

    /// Three orders of one customer in the table, and their events.
    async fn orders() -> (SqlitePool, Vec<OutboxMessage>) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("CREATE TABLE orders (message BLOB)").execute(&pool).await.unwrap();
        let events: Vec<_> = (1..=3).map(event).collect();
        for event in &events {
            let insert = sqlx::query("INSERT INTO orders VALUES (?)").bind(&event.id().as_bytes()[..]);
            insert.execute(&pool).await.unwrap();
        }
        (pool, events)
    }

    fn event(version: u32) -> OutboxMessage {
        let placed = OrderPlaced { order: version, customer: 7, version };
        OutboxMessage::json("orders.placed", &placed).unwrap().build().unwrap()
    }

    async fn report(change: impl FnOnce(&mut Vec<OutboxMessage>)) -> Report {
        let (pool, mut deliveries) = orders().await;
        change(&mut deliveries);
        Report::compare(&pool, &deliveries).await.unwrap()
    }

    #[tokio::test]
    async fn what_goes_wrong_is_found() {
        let fine = report(|_| {}).await;
        assert_eq!((fine.committed, fine.delivered), (3, 3));
        assert!(fine.verdict().is_ok());

        let lost = report(|events| drop(events.pop())).await;
        assert_eq!((lost.lost, lost.verdict().is_err()), (1, true));
        let phantom = report(|events| events.push(event(4))).await;
        assert_eq!((phantom.phantom, phantom.verdict().is_err()), (1, true));
        let swapped = report(|events| events.swap(0, 1)).await;
        assert!(swapped.out_of_order > 0 && swapped.verdict().is_err());
        let twice = report(|events| events.push(events[0].clone())).await;
        assert_eq!((twice.duplicates, twice.delivered, twice.verdict().is_ok()), (1, 3, true));
    }
}
