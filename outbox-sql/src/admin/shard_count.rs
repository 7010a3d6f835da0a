use outbox_core::{StoreError, StoreErrorKind};

use super::Admin;
use crate::{Dialect, Session, Step};

impl Admin<'_> {
    pub(super) async fn set_shard_count(&self, count: u8) -> Result<(), StoreError> {
        let most = self.dialect().max_shards();
        if !count.is_power_of_two() || count > most {
            let text = match most {
                1 => format!("{count} shards: this database has exactly one"),
                _ => format!("{count} is no power of two from 1 to {most}"),
            };
            return Err(invalid(text));
        }
        let shards = &self.words.shards;
        let now = self.dialect().now();
        let leased = self.words.number(&format!(
            "coalesce(sum(CASE WHEN owner IS NOT NULL AND lease_until > {now} THEN 1 ELSE 0 END), 0)"
        ));
        // Locks every row: whoever wants to take a shard waits for the change, or the change for the lease.
        let leases = match self.dialect() {
            Dialect::Postgres => format!("SELECT {leased} FROM (SELECT * FROM {shards} FOR UPDATE) AS s"),
            Dialect::MySql => format!("SELECT {leased} FROM {shards} FOR UPDATE"),
            Dialect::Sqlite => format!("SELECT {leased} FROM {shards}"),
        };
        // Epochs go on from the highest, so that a fence from before the change never fits again.
        let highest = format!("(SELECT highest FROM (SELECT max(epoch) AS highest FROM {shards}) AS e)");
        let free =
            format!("UPDATE {shards} SET owner = NULL, lease_until = NULL, unclean = 0, epoch = {highest}");
        let numbers: Vec<String> = (0..count).map(|shard| format!("SELECT {shard} AS shard")).collect();
        let add = format!(
            "INSERT INTO {shards} (shard, epoch) SELECT n.shard, coalesce({highest}, 0) FROM ({}) AS n \
             WHERE n.shard NOT IN (SELECT shard FROM {shards})",
            numbers.join(" UNION ALL ")
        );
        let remove = format!("DELETE FROM {shards} WHERE shard >= {count}");
        let also = |sql: &str| Step::Also(self.statement(sql, Vec::new()));
        let steps = vec![
            Step::Fence { statement: self.statement(&leases, Vec::new()), expect: 0 },
            also(&free),
            also(&add),
            also(&remove),
        ];
        let result = self.driver.transaction(Session::Control, steps).await?;
        if result.stale {
            return Err(invalid("a relay holds a lease: stop every relay first".to_owned()));
        }
        Ok(())
    }
}

fn invalid(text: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "set the shard count", text)
}
