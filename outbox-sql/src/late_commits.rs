use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use outbox_core::{LateCommitMark, Seq, StoreError};

use crate::claim::in_order_of_seq;
use crate::vocabulary::Vocabulary;
use crate::{Dialect, Driver, Row, Session, SqlStore, Statement, Step, Table, TableNames, Value};

/// Finds out when no row with a lower `seq` can appear any more.
///
/// # PostgreSQL
///
/// An `INSERT` locks the table before it takes its `seq` and until its transaction has ended and its rows can be seen.
/// So whoever may still commit a number that has been given out is among those that hold such a lock *after* the
/// sequence was read. This does not depend on transaction ids or on the oldest snapshot: nothing that is unrelated to
/// the table holds a mark. The relay's own deletes are among the holders, and end within milliseconds.
///
/// A prepared transaction holds its locks under another name than before it was prepared, so while there is one, no mark
/// passes.
///
/// # MySQL and MariaDB
///
/// There is no list of locks that both have and that any user may read, but a row that is not committed can be seen at
/// the isolation level READ UNCOMMITTED. The numbers that can be seen there, and not as READ COMMITTED, are those that
/// may still commit, or roll back. Two things make it complete:
///
/// * Between taking a number and inserting the row there are microseconds in which neither can be seen. The numbers of
///   the mark are therefore settled first, and the rows are looked for [`GRACE`] seconds later.
/// * A statement takes its numbers a few at a time, and inserts a row right away; the rows to come are of the same
///   transaction, which ends with the rows that can be seen.
///
/// What is missed all the same (a thread that the system left waiting just there) is found by the sweep from the
/// beginning of the table.
///
/// # SQLite
///
/// There is one writer: rows become visible in the order of their numbers.
#[derive(Debug)]
pub(crate) struct LateCommits {
    /// The highest `seq` that a claim has returned: it was given out, and all lower ones were.
    claimed: AtomicI64,
    /// The highest `seq` of a mark that has passed: what lies below needs no second look.
    passed: AtomicI64,
    texts: Texts,
}

#[derive(Debug)]
enum Texts {
    Postgres {
        sequence: Arc<str>,
        holders: Arc<str>,
        held: Arc<str>,
        table: String,
    },
    MySql {
        isolation: [Arc<str>; 2],
        commit: Arc<str>,
        last: Arc<str>,
        grace: Arc<str>,
        page: Arc<str>,
        among: Arc<str>,
    },
    Sqlite {
        last: Arc<str>,
        table: String,
    },
}

/// Seconds, as SQL.
const GRACE: &str = "0.02";

/// The most rows that a mark looks at. It moves by at least as many each time.
const PAGE: usize = 10_000;

/// Locks of those that may have inserted. A transaction that waits for one has no number yet.
const HOLDERS: &str = "FROM pg_locks WHERE locktype = 'relation' AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND relation = ?::text::regclass \
     AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

impl LateCommits {
    pub(crate) fn new(words: &Vocabulary, names: &TableNames) -> Self {
        let texts = match words.dialect {
            Dialect::Postgres => Texts::Postgres {
                sequence: words.text(
                    "SELECT CASE WHEN has_sequence_privilege(s.s, 'SELECT, USAGE') \
                     THEN coalesce(pg_sequence_last_value(s.s), 0) END::int8 \
                     FROM (SELECT pg_get_serial_sequence(?::text, 'seq')::regclass AS s) s",
                ),
                holders: words.text(&format!("SELECT DISTINCT virtualtransaction::text {HOLDERS}")),
                held: words.text(&format!(
                    "SELECT count(*)::int8 {HOLDERS} AND (virtualtransaction = ANY (?::text[]) OR pid IS NULL)"
                )),
                table: words.messages.clone(),
            },
            Dialect::MySql => {
                let (messages, list) = (in_order_of_seq(words), words.number_list());
                let isolation = ["READ UNCOMMITTED", "READ COMMITTED"]
                    .map(|level| words.text(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")));
                Texts::MySql {
                    isolation,
                    commit: words.text("COMMIT"),
                    last: words.text(&format!("SELECT max(seq) FROM {}", words.messages)),
                    grace: words.text(&format!("SELECT SLEEP({GRACE})")),
                    page: words.text(&format!(
                        "SELECT m.seq FROM {messages} WHERE m.seq > ? ORDER BY m.seq LIMIT {PAGE}"
                    )),
                    among: words.text(&format!(
                        "SELECT m.seq FROM {list} STRAIGHT_JOIN {} m ON m.seq = l.n",
                        words.messages
                    )),
                }
            }
            Dialect::Sqlite => Texts::Sqlite {
                last: words.text("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"),
                table: names.plain(Table::Messages),
            },
        };
        Self { claimed: AtomicI64::new(0), passed: AtomicI64::new(0), texts }
    }

    /// A claim has returned this `seq`.
    pub(crate) fn claimed(&self, seq: Seq) {
        self.claimed.fetch_max(seq, Ordering::Relaxed);
    }
}

impl<D: Driver> SqlStore<D> {
    pub(crate) async fn mark(&self) -> Result<LateCommitMark, StoreError> {
        match &self.late_commits.texts {
            Texts::Postgres { sequence, holders, table, .. } => {
                // Two statements, so that the second sees what is locked after the first has read the sequence.
                let table = || vec![Value::from(&**table)];
                let rows = self.driver.query(Session::Control, Statement::new(sequence, table())).await?;
                let last = rows.first().map_or(Ok(None), |row| row.i64(0))?;
                // Whoever may not read the sequence knows of what was given out by what was read.
                let seq = last.unwrap_or_else(|| self.late_commits.claimed.load(Ordering::Relaxed));
                let rows = self.driver.query(Session::Control, Statement::new(holders, table())).await?;
                let mut holders = Vec::with_capacity(rows.len());
                for row in &rows {
                    holders.extend(row.text(0)?.map(str::to_owned));
                }
                Ok(LateCommitMark { seq, holders })
            }
            Texts::MySql { isolation, commit, last, grace, page, .. } => {
                let late = &self.late_commits;
                let passed = late.passed.load(Ordering::Relaxed);
                let claimed = late.claimed.load(Ordering::Relaxed).max(passed);
                let also = |text| Step::Also(Statement::new(text, Vec::new()));
                let read = |text, values| Step::Read(Statement::new(text, values));
                let steps = vec![
                    also(&isolation[0]),
                    // The level counts from the next transaction on; each statement is one of its own after this.
                    also(commit),
                    read(last, Vec::new()),
                    read(grace, Vec::new()),
                    read(page, vec![Value::from(passed)]),
                    also(&isolation[1]),
                    read(page, vec![Value::from(passed)]),
                ];
                let result = self.driver.transaction(Session::Control, steps).await?;
                let [last, _, uncommitted, committed] = &result.rows[..] else {
                    return Ok(LateCommitMark::passed(passed));
                };
                let last = last.first().map_or(Ok(None), |row| row.i64(0))?.unwrap_or(0);
                let mark = difference(claimed.max(last), &seqs(uncommitted)?, &seqs(committed)?);
                if mark.holders.is_empty() {
                    late.passed.fetch_max(mark.seq, Ordering::Relaxed);
                }
                Ok(mark)
            }
            Texts::Sqlite { last, table } => {
                let statement = Statement::new(last, vec![Value::from(&**table)]);
                let rows = self.driver.query(Session::Control, statement).await?;
                Ok(LateCommitMark::passed(first_number(&rows)?))
            }
        }
    }

    pub(crate) async fn mark_has_passed(&self, mark: &LateCommitMark) -> Result<bool, StoreError> {
        let over = match &self.late_commits.texts {
            _ if mark.holders.is_empty() => true,
            Texts::Postgres { held, table, .. } => {
                let holders = mark.holders.iter().map(|holder| Some(holder.as_str().into())).collect();
                let values = vec![Value::from(&**table), Value::TextArray(holders)];
                let rows = self.driver.query(Session::Control, Statement::new(held, values)).await?;
                first_number(&rows)? == 0
            }
            Texts::MySql { isolation, commit, among, .. } => {
                let holders: Vec<i64> =
                    mark.holders.iter().filter_map(|holder| holder.parse().ok()).collect();
                let also = |text| Step::Also(Statement::new(text, Vec::new()));
                let among = || Step::Read(Statement::new(among, vec![self.words.numbers(&holders)]));
                let steps = vec![also(&isolation[0]), also(commit), among(), also(&isolation[1]), among()];
                let result = self.driver.transaction(Session::Control, steps).await?;
                let [uncommitted, committed] = &result.rows[..] else {
                    return Ok(false);
                };
                let (uncommitted, committed) = (seqs(uncommitted)?, seqs(committed)?);
                uncommitted.iter().all(|seq| committed.contains(seq))
            }
            Texts::Sqlite { .. } => true,
        };
        if over {
            self.late_commits.passed.fetch_max(mark.seq, Ordering::Relaxed);
        }
        Ok(over)
    }
}

/// The mark of MySQL and MariaDB, from what could be seen at either level; `settled` numbers were given out before.
fn difference(settled: Seq, uncommitted: &BTreeSet<Seq>, committed: &BTreeSet<Seq>) -> LateCommitMark {
    // A full page says nothing about what comes after it.
    let end = |page: &BTreeSet<Seq>| page.last().copied().filter(|_| page.len() >= PAGE).unwrap_or(Seq::MAX);
    let seq = settled.min(end(uncommitted)).min(end(committed));
    let open = uncommitted.difference(committed).filter(|open| **open <= seq);
    LateCommitMark { seq, holders: open.map(Seq::to_string).collect() }
}

fn first_number(rows: &[Row]) -> Result<i64, StoreError> {
    rows.first().map_or(Ok(0), |row| row.number(0))
}

fn seqs(rows: &[Row]) -> Result<BTreeSet<Seq>, StoreError> {
    rows.iter().map(|row| row.number(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(seqs: impl IntoIterator<Item = Seq>) -> BTreeSet<Seq> {
        seqs.into_iter().collect()
    }

    #[test]
    fn what_is_seen_uncommitted_only_holds_the_mark() {
        let mark = difference(9, &set([3, 5, 7, 11]), &set([3, 7]));
        assert_eq!(mark, LateCommitMark { seq: 9, holders: vec!["5".to_owned()] });
    }

    #[test]
    fn a_row_that_is_being_deleted_holds_nothing() {
        assert_eq!(difference(9, &set([3]), &set([3, 5])), LateCommitMark::passed(9));
        assert_eq!(difference(9, &set([]), &set([])), LateCommitMark::passed(9));
    }

    #[test]
    fn a_mark_ends_with_what_was_looked_at() {
        let full = set(1..=PAGE as i64);
        let mark = difference(1_000_000, &full, &set(2..=PAGE as i64));
        assert_eq!(mark, LateCommitMark { seq: PAGE as i64, holders: vec!["1".to_owned()] });
        let shorter = set(11..=(PAGE as i64 + 10));
        assert_eq!(difference(1_000_000, &set([]), &shorter).seq, PAGE as i64 + 10);
    }
}
