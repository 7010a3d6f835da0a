use std::time::Duration;

use outbox_core::{OutboxStats, RelayInfo, ShardId, ShardInfo, StoreError};

use super::Admin;
use crate::{Row, Value};

/// For how long a relay that gives no sign of life is listed, in microseconds.
const REMEMBERED: i64 = 24 * 60 * 60 * 1_000_000;

impl Admin<'_> {
    pub(super) async fn stats(&self, count_limit: u64) -> Result<OutboxStats, StoreError> {
        let mut stats = OutboxStats::default();
        stats.count_limit = count_limit;
        let limit = Value::from(i64::try_from(count_limit).unwrap_or(i64::MAX));
        self.counts(&mut stats, &limit).await?;
        stats.shards = self.shards().await?;
        stats.relays = self.relays().await?;
        Ok(stats)
    }

    /// All that can be counted, in one statement: it runs again and again beside an idle relay.
    async fn counts(&self, stats: &mut OutboxStats, limit: &Value<'static>) -> Result<(), StoreError> {
        let (messages, deferred, dead) =
            (&self.words.messages, &self.words.deferred, &self.words.dead_letters);
        let number = |expression: &str| self.words.number(expression);
        let count = |of: &str| {
            number(&format!("(SELECT count(*) FROM (SELECT 1 AS one FROM {of} LIMIT ?) AS counted)"))
        };
        let sum =
            |condition: &str| number(&format!("coalesce(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)"));
        let with_a_time = self.with_a_time();
        let sql = format!(
            "SELECT {}, {}, {}, (SELECT {} FROM {messages} ORDER BY seq LIMIT 1), \
               waiting.later, waiting.again, blocked.how_many, blocked.longest \
             FROM (SELECT {} AS later, {} AS again FROM {with_a_time} AS with_a_time) AS waiting, \
               (SELECT {} AS how_many, {} AS longest FROM (\
                 SELECT ordering_key, deferred_at AS since FROM {with_a_time} AS retrying WHERE attempts > 0 \
                 UNION ALL \
                 SELECT ordering_key, since FROM (SELECT ordering_key, died_at AS since FROM {dead} \
                   WHERE parked_behind IS NOT NULL ORDER BY ordering_key, seq LIMIT ?) AS parked\
               ) AS keyed WHERE ordering_key IS NOT NULL) AS blocked",
            count(messages),
            count(&format!("{deferred} WHERE due_at IS NULL")),
            count(dead),
            self.dialect().us_until("created_at"),
            sum("attempts = 0"),
            sum("attempts > 0"),
            number("count(DISTINCT ordering_key)"),
            self.dialect().us_until("min(since)"),
        );
        let rows = self.query(&sql, vec![limit.clone(); 6]).await?;
        if let [row] = &rows[..] {
            let [pending, held, dead, delayed, retrying, blocked] =
                [0, 1, 2, 4, 5, 6].map(|column| count_in(row, column));
            (stats.pending, stats.held, stats.dead) = (pending?, held?, dead?);
            (stats.delayed, stats.retrying, stats.blocked_keys) = (delayed?, retrying?, blocked?);
            stats.oldest_pending = row.i64(3)?.map(past);
            stats.longest_blocked = row.i64(7)?.map(past);
        }
        Ok(())
    }

    /// Deferred rows that wait for a time, those that are due soonest first: among many delayed ones the limit must not
    /// hide the retrying ones.
    fn with_a_time(&self) -> String {
        let deferred = &self.words.deferred;
        format!(
            "(SELECT ordering_key, attempts, deferred_at FROM {deferred} WHERE due_at IS NOT NULL \
             ORDER BY due_at, number LIMIT ?)"
        )
    }

    async fn shards(&self) -> Result<Vec<ShardInfo>, StoreError> {
        let (now, left) = (self.dialect().now(), self.dialect().us_until("lease_until"));
        let number = |column: &str| self.words.number(column);
        let sql = format!(
            "SELECT {}, owner, {}, CASE WHEN owner IS NOT NULL AND lease_until > {now} THEN {left} END, {} \
             FROM {} ORDER BY shard",
            number("shard"),
            number("epoch"),
            number("unclean"),
            self.words.shards
        );
        let rows = self.query(&sql, Vec::new()).await?;
        rows.iter().map(shard_info).collect()
    }

    async fn relays(&self) -> Result<Vec<RelayInfo>, StoreError> {
        let alive =
            self.words.number(&format!("CASE WHEN alive_until > {} THEN 1 ELSE 0 END", self.dialect().now()));
        let sql = format!(
            "SELECT relay, label, {alive}, {} FROM {} WHERE last_seen > {} ORDER BY relay",
            self.dialect().us_until("last_seen"),
            self.words.relays,
            self.dialect().now_plus("?"),
        );
        let rows = self.query(&sql, vec![Value::from(-REMEMBERED)]).await?;
        rows.iter().map(relay_info).collect()
    }
}

fn shard_info(row: &Row) -> Result<ShardInfo, StoreError> {
    let small =
        |number: Option<i64>| number.and_then(|number| ShardId::try_from(number).ok()).unwrap_or_default();
    Ok(ShardInfo {
        shard: small(row.i64(0)?),
        owner: row.text(1)?.map(str::to_owned),
        epoch: row.i64(2)?.unwrap_or_default(),
        lease_left: row.i64(3)?.map(|left| Duration::from_micros(left.max(0).unsigned_abs())),
        unclean_takeovers: u32::try_from(row.i64(4)?.unwrap_or_default()).unwrap_or_default(),
    })
}

fn relay_info(row: &Row) -> Result<RelayInfo, StoreError> {
    Ok(RelayInfo {
        relay: row.text(0)?.unwrap_or_default().to_owned(),
        label: row.text(1)?.unwrap_or_default().to_owned(),
        alive: row.i64(2)? == Some(1),
        last_seen: row.i64(3)?.map(past).unwrap_or_default(),
    })
}

fn count_in(row: &Row, column: usize) -> Result<u64, StoreError> {
    Ok(row.i64(column)?.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
}

/// How long ago that was; nothing if it is still to come.
fn past(microseconds_until: i64) -> Duration {
    Duration::from_micros(microseconds_until.min(0).unsigned_abs())
}
