//! What every operation says to the database, without one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimRequest, ClaimSource, DeadReason, DuePosition, Fence, LateCommitMark, LeaseRequest,
    MessageId, OrderingKey, OutboxStore, Outcome, RelayId, RowId, Scope, ShardSet, StoreError,
    StoreErrorKind, TopicFilter,
};

use crate::{Cell, Dialect, Driver, Row, Session, SqlStore, Statement, Step, TableNames, TransactionResult};

const DIALECTS: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];
const HOSTILE: &str = "k'; DROP TABLE users; -- ? $1 \\";

#[derive(Clone, Default)]
struct Recorder {
    /// Text, number of values, whether it is kept prepared.
    said: Arc<Mutex<Vec<(String, usize, bool)>>>,
}

impl Recorder {
    fn record(&self, statement: &Statement<'_>) {
        let said = (statement.sql.to_string(), statement.values.len(), statement.reuse);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }

    fn take(&self) -> Vec<(String, usize, bool)> {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn texts(&self) -> Vec<String> {
        self.take().into_iter().map(|(sql, ..)| sql).collect()
    }
}

#[async_trait]
impl Driver for Recorder {
    async fn messages(
        &self,
        _: Session,
        statement: Statement<'_>,
        _: usize,
        _: usize,
    ) -> Result<Claim, StoreError> {
        self.record(&statement);
        Ok(Claim::default())
    }

    async fn query(&self, _: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        self.record(&statement);
        Ok(rows(&statement))
    }

    async fn transaction(&self, _: Session, steps: Vec<Step<'_>>) -> Result<TransactionResult, StoreError> {
        let mut result = TransactionResult::default();
        for step in &steps {
            let (Step::Fence { statement, .. }
            | Step::Write(statement)
            | Step::Also(statement)
            | Step::Read(statement)) = step;
            self.record(statement);
            if let Step::Read(_) = step {
                result.rows.push(rows(statement));
            }
        }
        Ok(result)
    }

    async fn script(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::new(StoreErrorKind::Other, "script", "nothing here runs a script"))
    }
}

/// A shard that is not ours; enough for a renewal, and nothing where a row has other columns.
fn rows(statement: &Statement<'_>) -> Vec<Row> {
    if !statement.sql.contains("alive_until") {
        return Vec::new();
    }
    vec![Row(vec![Cell::I64(0), Cell::I64(0), Cell::I64(0), Cell::I64(0)])]
}

/// A store that talks to nobody. Nothing in it waits, so its futures are ready at once.
fn store(dialect: Dialect, names: TableNames) -> (SqlStore<Recorder>, Recorder) {
    let recorder = Recorder::default();
    (SqlStore::new(recorder.clone(), dialect, names), recorder)
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("a recorder does not wait"),
    }
}

fn fence() -> Fence {
    Fence::new(RelayId::new(), [(3, 7), (1, 5)])
}

fn outcomes(rows: i64) -> Vec<(RowId, Outcome)> {
    let behind = MessageId::new();
    let retry = || Outcome::Retry { attempts: 1, after: Duration::from_secs(1), error: HOSTILE.to_owned() };
    let dead = || Outcome::Dead {
        attempts: 3,
        reason: DeadReason::Rejected,
        error: Some(HOSTILE.to_owned()),
        parked_behind: Some(behind),
    };
    let of = |n: i64| {
        [
            (RowId::fresh(10 * n), Outcome::Delivered),
            (RowId::fresh(10 * n + 1), retry()),
            (RowId::fresh(10 * n + 2), dead()),
            (RowId::fresh(10 * n + 3), Outcome::Hold { behind }),
            (RowId::fresh(10 * n + 4), Outcome::Delay),
            (RowId::deferred(n), Outcome::Delivered),
            (RowId::deferred(1_000 + n), retry()),
            (RowId::deferred(2_000 + n), dead()),
            (RowId::deferred(3_000 + n), Outcome::Replay),
            (RowId::dead(n), Outcome::Replay),
            (RowId::dead(1_000 + n), Outcome::Discard),
        ]
    };
    (0..rows).flat_map(of).collect()
}

/// Everything that the relay can ask for.
fn ask_everything(store: &SqlStore<Recorder>) {
    let max = store.capabilities().max_shards;
    let topics = TopicFilter {
        include: vec!["orders.*".parse().unwrap()],
        exclude: vec!["orders.internal".parse().unwrap()],
    };
    let keys = [OrderingKey::stored(HOSTILE)];
    for shards in [ShardSet::all(max), ShardSet::of(max, [0])] {
        for topics in [TopicFilter::all(), topics.clone()] {
            let scope = Scope { shards, topics };
            let position = DuePosition { due_at: 1, number: 2 };
            let sources = [
                ClaimSource::Fresh { after: 7 },
                ClaimSource::Exact { seqs: vec![1, 2] },
                ClaimSource::Due { after: None },
                ClaimSource::Due { after: Some(position) },
                ClaimSource::Held { keys: keys.to_vec(), after: 0 },
            ];
            for source in sources {
                let request = ClaimRequest { scope: scope.clone(), source, limit: 10, max_bytes: 10 };
                now(store.claim(&request)).unwrap();
            }
            now(store.scan(&scope, 0, 10, 10)).unwrap();
            now(store.holds(&scope, None, 10)).unwrap();
            now(store.holds(&scope, Some(&keys), 10)).unwrap();
            now(store.next_due(&scope)).unwrap();
            now(store.requests(&scope, 10)).unwrap();
        }
    }
    let request =
        LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(1), label: HOSTILE.to_owned() };
    now(store.renew(&request)).unwrap();
    now(store.acquire(&request, 3)).unwrap();
    now(store.release(&fence())).unwrap();
    now(store.absolve(&fence())).unwrap();
    now(store.retire(request.relay)).unwrap();
    now(store.settle(&fence(), &outcomes(3))).unwrap();
    for delivered in [&[1, 2][..], &[1, 3]] {
        let delivered: Vec<_> =
            delivered.iter().map(|seq| (RowId::fresh(*seq), Outcome::Delivered)).collect();
        now(store.settle(&fence(), &delivered)).unwrap();
    }
    now(store.settle(&fence(), &[])).unwrap();
    now(store.is_empty()).unwrap();
    now(store.mark_late_commits()).unwrap();
    now(store.late_commits_over(&LateCommitMark { seq: 3, holders: vec!["2".to_owned()] })).unwrap();
}

#[test]
fn every_text_has_a_parameter_for_each_value() {
    for dialect in DIALECTS {
        let (store, recorder) = store(dialect, TableNames::default());
        ask_everything(&store);
        let said = recorder.take();
        assert!(said.len() > 60, "{}", said.len());
        for (sql, values, _) in said {
            let parameters = match dialect {
                // JSON paths have a dollar, too, but not there.
                Dialect::Postgres => {
                    let numbers = sql.split('$').skip(1);
                    let digits =
                        |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
                    numbers.map(|text| digits(text).parse().unwrap()).max().unwrap_or(0)
                }
                _ => sql.matches('?').count(),
            };
            assert_eq!(parameters, values, "{sql}");
        }
    }
}

#[test]
fn no_text_has_anything_of_a_users_in_it() {
    for dialect in DIALECTS {
        let (store, recorder) = store(dialect, TableNames::default());
        ask_everything(&store);
        for sql in recorder.texts() {
            assert!(!sql.contains("DROP") && !sql.contains("orders"), "{sql}");
            assert!(!sql.contains(';') && !sql.contains("--"), "one statement each: {sql}");
        }
    }
}

#[test]
fn every_table_has_its_schema_and_its_prefix() {
    let names = || TableNames::new(Some("app"), "billing_").unwrap();
    for (dialect, qualified) in
        [(Dialect::Postgres, "\"app\".\"billing_outbox_"), (Dialect::MySql, "`app`.`billing_outbox_")]
    {
        let (store, recorder) = store(dialect, names());
        ask_everything(&store);
        for sql in recorder.texts() {
            let tables = sql.matches("outbox_").count();
            assert_eq!(tables, sql.matches(qualified).count(), "{sql}");
        }
    }
}

#[test]
fn a_settle_takes_the_same_statements_however_many_rows_there_are() {
    for dialect in DIALECTS {
        let (store, recorder) = store(dialect, TableNames::default());
        now(store.settle(&fence(), &outcomes(2))).unwrap();
        let two = recorder.texts();
        now(store.settle(&fence(), &outcomes(200))).unwrap();
        assert_eq!(two, recorder.texts());
        assert!(two[0].contains("count(*)"), "the fence comes first: {}", two[0]);
        assert!(two.len() <= 24, "{}", two.len());
    }
}

#[test]
fn only_a_run_without_holes_is_deleted_as_a_range() {
    let delete = |dialect, seqs: &[i64]| {
        let (store, recorder) = store(dialect, TableNames::default());
        let outcomes: Vec<_> = seqs.iter().map(|seq| (RowId::fresh(*seq), Outcome::Delivered)).collect();
        now(store.settle(&fence(), &outcomes)).unwrap();
        let texts = recorder.texts();
        texts.into_iter().find(|sql| sql.contains("DELETE")).unwrap()
    };
    for dialect in DIALECTS {
        for run in [&[4, 5, 6][..], &[6, 4, 5], &[4, 4, 5], &[9]] {
            assert!(delete(dialect, run).contains("BETWEEN"), "{run:?}");
        }
        for holes in [&[4, 6][..], &[4, 6, 6], &[1, 2, 3, 5, 4, 7]] {
            assert!(!delete(dialect, holes).contains("BETWEEN"), "{holes:?}");
        }
    }
}

#[test]
fn what_is_delivered_takes_one_statement_in_postgres_and_the_fence_is_in_it() {
    let (store, recorder) = store(Dialect::Postgres, TableNames::default());
    now(store.settle(&fence(), &[(RowId::fresh(1), Outcome::Delivered)])).unwrap();
    let texts = recorder.texts();
    // The second asks why nothing was deleted.
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("FOR SHARE") && texts[0].contains("DELETE"), "{}", texts[0]);
    assert!(!texts[1].contains("DELETE"), "{}", texts[1]);
}

#[test]
fn whole_keys_move_while_no_other_settle_runs() {
    for (dialect, shared, exclusive) in
        [(Dialect::Postgres, "FOR SHARE", "FOR UPDATE"), (Dialect::MySql, "LOCK IN SHARE MODE", "FOR UPDATE")]
    {
        let (store, recorder) = store(dialect, TableNames::default());
        now(store.settle(&fence(), &[(RowId::deferred(1), Outcome::Replay)])).unwrap();
        assert!(recorder.texts()[0].contains(shared));
        for outcome in [Outcome::Replay, Outcome::Discard] {
            now(store.settle(&fence(), &[(RowId::dead(1), outcome)])).unwrap();
            assert!(recorder.texts()[0].contains(exclusive));
        }
    }
}

#[test]
fn the_claim_of_fresh_rows_stays_prepared_and_others_are_planned_anew() {
    let (store, recorder) = store(Dialect::Postgres, TableNames::default());
    ask_everything(&store);
    for (sql, _, reuse) in recorder.take() {
        if sql.contains("outbox_deferred") && !sql.contains("EXISTS") && !sql.starts_with("SELECT (date_part")
        {
            assert!(!reuse, "{sql}");
        }
        if sql.contains("ORDER BY m.seq LIMIT") {
            assert!(reuse, "{sql}");
        }
    }
}

#[test]
fn sqlite_has_no_schemas() {
    let (store, recorder) = store(Dialect::Sqlite, TableNames::new(Some("app"), "").unwrap());
    let error = now(store.check()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    assert!(error.to_string().contains("table prefix"), "{error}");
    assert!(recorder.take().is_empty());
}
