//! What an operator should know of the database.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outbox_core::{Finding, OutboxStats, SchemaDrift, StoreError, StoreErrorKind};

use super::Admin;
use crate::{Dialect, Value};

/// A clock that is off by more than this is worth a word: delays that a producer computes are off by as much.
const SKEW_LIMIT: Duration = Duration::from_secs(1);
/// Rows that are looked at for figures.
const LOOK: u64 = 1_000;
/// A message that waits longer than this while somebody works is late.
const LATE: Duration = Duration::from_secs(60);

impl Admin<'_> {
    pub(super) async fn diagnose(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.check().await {
            Ok(()) => findings.push(Finding::ok("database", "reachable, and migrated to this version")),
            Err(error) if error.kind() == StoreErrorKind::NotMigrated => {
                let remedy = "run `outbox migrate`";
                findings.push(Finding::error("tables", error.to_string(), remedy));
                return findings;
            }
            Err(error) => {
                let remedy = "start the database, or correct its URL";
                findings.push(Finding::error("database", error.to_string(), remedy));
                return findings;
            }
        }
        let answers = [
            self.tables().await,
            self.settings().await,
            self.clock().await,
            self.stats(LOOK).await.map(|stats| work(&stats)),
        ];
        for answer in answers {
            findings.extend(answer.unwrap_or_else(|error| vec![unanswered(&error)]));
        }
        findings
    }

    pub(super) async fn waiting_topics(&self, rows: u64) -> Result<Vec<String>, StoreError> {
        let (messages, deferred) = (&self.words.messages, &self.words.deferred);
        let sql = format!(
            "SELECT DISTINCT topic FROM (\
               SELECT topic FROM (SELECT topic FROM {messages} ORDER BY seq LIMIT ?) AS fresh \
               UNION ALL \
               SELECT topic FROM (SELECT topic FROM {deferred} ORDER BY number LIMIT ?) AS later\
             ) AS waiting ORDER BY topic"
        );
        let limit = Value::from(i64::try_from(rows).unwrap_or(i64::MAX));
        let rows = self.query(&sql, vec![limit.clone(), limit]).await?;
        let topics = rows.iter().map(|row| Ok(row.text(0)?.unwrap_or_default().to_owned()));
        topics.collect()
    }

    async fn tables(&self) -> Result<Vec<Finding>, StoreError> {
        let drifts = self.tables_check().await?;
        if drifts.is_empty() {
            return Ok(vec![Finding::ok("tables", "as the migrations made them")]);
        }
        Ok(drifts.into_iter().map(SchemaDrift::into_finding).collect())
    }

    /// Settings of the relay's own connections, and of the server.
    async fn settings(&self) -> Result<Vec<Finding>, StoreError> {
        let mut findings: Vec<_> =
            self.isolation_level().await?.iter().map(|level| isolation(level)).collect();
        match self.dialect() {
            Dialect::Postgres => {
                let replica = "CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END";
                let setting = |name: &str| format!("current_setting('{name}')");
                let columns = [replica.to_owned(), setting("default_transaction_read_only")];
                let rows = self.query(&format!("SELECT {}", columns.join(", ")), Vec::new()).await?;
                let text = |column| rows.first().map_or(Ok(None), |row| row.text(column));
                findings.push(primary(text(0)? == Some("on")));
                if text(1)? == Some("on") {
                    let remedy = "connect to the primary, or set default_transaction_read_only = off";
                    findings.push(Finding::error("database", "its transactions are read-only", remedy));
                }
            }
            Dialect::MySql => {
                let rows = self.query("SHOW SESSION VARIABLES LIKE 'read\\_only'", Vec::new()).await?;
                let value = rows.first().map_or(Ok(None), |row| row.text(1))?.unwrap_or_default();
                findings.push(primary(value.eq_ignore_ascii_case("on")));
            }
            Dialect::Sqlite => {
                let rows = self.query("PRAGMA journal_mode", Vec::new()).await?;
                let mode = rows.first().map_or(Ok(None), |row| row.text(0))?.unwrap_or_default().to_owned();
                findings.push(match mode.as_str() {
                    "wal" => Finding::ok("journal mode", "wal"),
                    other => Finding::warning(
                        "journal mode",
                        format!("{other}: readers and writers wait for each other"),
                        "PRAGMA journal_mode = WAL",
                    ),
                });
            }
        }
        Ok(findings)
    }

    /// That of the relay's own connections, in the words of the database; `None` where there is only one.
    pub(super) async fn isolation_level(&self) -> Result<Option<String>, StoreError> {
        // MySQL has two spellings of the one setting, of which each server knows one or both.
        let (sql, column) = match self.dialect() {
            Dialect::Postgres => ("SELECT current_setting('transaction_isolation')", 0),
            Dialect::MySql => {
                ("SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')", 1)
            }
            Dialect::Sqlite => return Ok(None),
        };
        let rows = self.query(sql, Vec::new()).await?;
        rows.first().map_or(Ok(None), |row| Ok(row.text(column)?.map(str::to_owned)))
    }

    async fn clock(&self) -> Result<Vec<Finding>, StoreError> {
        let asked = Instant::now();
        let rows =
            self.query(&format!("SELECT {}", self.words.number(self.dialect().now_us())), Vec::new()).await?;
        let there = rows.first().map_or(Ok(None), |row| row.i64(0))?.unwrap_or_default();
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let there = Duration::from_micros(there.max(0).unsigned_abs());
        Ok(vec![skew(here.abs_diff(there), asked.elapsed())])
    }
}

pub(super) const ISOLATION: &str = "isolation level";

pub(super) fn is_read_committed(level: &str) -> bool {
    level.to_ascii_lowercase().replace('-', " ") == "read committed"
}

fn isolation(level: &str) -> Finding {
    if is_read_committed(level) {
        return Finding::ok(ISOLATION, "read committed, on the relay's connections");
    }
    let remedy = "nothing in between (a pooler, a proxy) may change the relay's sessions";
    Finding::error(
        ISOLATION,
        format!("{level} on the relay's connections: claims would block producers"),
        remedy,
    )
}

fn primary(replica: bool) -> Finding {
    if replica {
        let detail = "a replica: rows become visible there in another order, and nothing can be settled";
        return Finding::error("database", detail, "connect to the primary");
    }
    Finding::ok("database", "takes writes")
}

/// How far the clocks are apart, of which the time of the question itself explains a part.
fn skew(apart: Duration, asked: Duration) -> Finding {
    let off = apart.saturating_sub(asked);
    if off <= SKEW_LIMIT {
        return Finding::ok("clock", format!("within {} ms of the database's", (off + asked).as_millis()));
    }
    Finding::warning(
        "clock",
        format!(
            "{:.1} s away from the database's: delays that are computed here are off by as much",
            off.as_secs_f64()
        ),
        "synchronize both with NTP; leases go by the database's clock alone",
    )
}

/// Whether somebody works.
fn work(stats: &OutboxStats) -> Vec<Finding> {
    let mut findings = Vec::new();
    let alive = stats.relays.iter().filter(|relay| relay.alive).count();
    let waiting = stats.pending + stats.retrying + stats.delayed;
    let oldest = stats.oldest_pending.unwrap_or_default();
    findings.push(if alive == 0 && waiting > 0 {
        let detail = format!("none is alive, and messages wait, the oldest for {} s", oldest.as_secs());
        Finding::warning("relay", detail, "start one: `outbox relay`")
    } else if alive > 0 && oldest > LATE {
        let detail = format!("{alive} alive, and the oldest message has waited for {} s", oldest.as_secs());
        Finding::warning("relay", detail, "look at the broker below, and at the relay's log")
    } else {
        Finding::ok("relay", format!("{alive} alive"))
    });
    if stats.dead > 0 {
        let detail = format!(
            "{}{} messages were given up",
            if stats.dead >= LOOK { "at least " } else { "" },
            stats.dead
        );
        findings.push(Finding::warning(
            "dead letters",
            detail,
            "see `outbox dead list`, then replay or discard them",
        ));
    }
    if stats.blocked_keys > 0 {
        let longest = stats.longest_blocked.unwrap_or_default().as_secs();
        let detail = format!("{} stand still, the longest for {longest} s", stats.blocked_keys);
        findings.push(Finding::warning("keys", detail, "see `outbox status` and `outbox dead list`"));
    }
    findings
}

fn unanswered(error: &StoreError) -> Finding {
    Finding::warning("database", error.to_string(), "grant the relay's user what it asks for, and look again")
}

#[cfg(test)]
mod tests {
    use outbox_core::Severity;

    use super::*;

    #[test]
    fn a_clock_is_judged_beyond_the_time_of_the_question() {
        assert_eq!(skew(Duration::from_millis(1500), Duration::from_millis(600)).severity, Severity::Ok);
        let off = skew(Duration::from_secs(90), Duration::from_millis(2));
        assert_eq!(off.severity, Severity::Warning);
        assert!(off.detail.starts_with("90.0 s away"), "{off}");
    }

    #[test]
    fn only_read_committed_will_do() {
        for level in ["read committed", "READ-COMMITTED"] {
            assert_eq!(isolation(level).severity, Severity::Ok);
        }
        assert_eq!(isolation("REPEATABLE-READ").severity, Severity::Error);
    }

    #[test]
    fn messages_that_wait_for_nobody_are_named() {
        let mut stats = OutboxStats::default();
        assert!(work(&stats).iter().all(|finding| finding.severity == Severity::Ok));
        stats.pending = 3;
        stats.dead = 2;
        stats.blocked_keys = 1;
        let found: Vec<_> = work(&stats).into_iter().map(|finding| finding.subject).collect();
        assert_eq!(found, ["relay", "dead letters", "keys"]);
    }
}
