//! The claim must be a walk along an index, on every database, at every size of the table.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use outbox_conformance::StoreFixture;
use outbox_core::{Claim, ClaimRequest, ClaimSource, OutboxStore, ShardSet, StoreError};
use outbox_sql::{Driver, Row, Session, SqlStore, Statement, Step, TableNames, TransactionResult};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr};

use crate::fixture::{Fixture, TestDatabase, bound};
use crate::writer::message;

/// The plans of the claims of fresh rows, as text: of all shards and of half of them, on a small and on a large table.
pub(crate) async fn claims<DB: TestDatabase>(
    fixture: &Fixture<DB>,
    explain: &str,
    analyze: &str,
) -> Vec<String> {
    let mut scope = fixture.scope.clone();
    let all = scope.shards;
    let half = ShardSet::of(all.count(), all.iter().filter(|shard| shard % 2 == 0));
    let mut plans = Vec::new();
    for rows in [10, 3_000] {
        fixture.enqueue(&(0..rows).map(|_| message()).collect::<Vec<_>>()).await;
        let mut connection = fixture.pool.acquire().await.unwrap();
        DB::script(&mut connection, AssertSqlSafe(analyze).into_sql_str()).await.unwrap();
        for setting in DB::DIALECT.session_settings() {
            DB::script(&mut connection, AssertSqlSafe(*setting).into_sql_str()).await.unwrap();
        }
        for shards in [all, half] {
            scope.shards = shards;
            let source = ClaimSource::Fresh { after: 5 };
            let request = ClaimRequest { scope: scope.clone(), source, limit: 1_000, max_bytes: 1 << 20 };
            let statement = written::<DB>(&request).await;
            plans.push(explained::<DB>(&mut connection, explain, &statement).await);
        }
        // The settings of a relay must not stay in the producers' pool.
        connection.close().await.unwrap();
    }
    plans
}

/// The plan of a statement on a connection of the relay's kind.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) async fn plan<DB: TestDatabase>(
    fixture: &Fixture<DB>,
    explain: &str,
    statement: &Statement<'_>,
) -> String {
    let mut connection = fixture.pool.acquire().await.unwrap();
    for setting in DB::DIALECT.session_settings() {
        DB::script(&mut connection, AssertSqlSafe(*setting).into_sql_str()).await.unwrap();
    }
    let plan = explained::<DB>(&mut connection, explain, statement).await;
    connection.close().await.unwrap();
    plan
}

async fn explained<DB: TestDatabase>(
    connection: &mut DB::Connection,
    explain: &str,
    statement: &Statement<'_>,
) -> String {
    let query = bound::<DB>(statement, explain);
    let lines: Vec<String> = DB::fetch(connection, query)
        .map_ok(|row| {
            let cells = (0..row.len()).map(|column| format!("{:?}", DB::cell(&row, column)));
            cells.collect::<Vec<_>>().join(" ")
        })
        .try_collect()
        .await
        .unwrap();
    lines.join("\n")
}

/// The statement that a claim becomes.
async fn written<DB: TestDatabase>(request: &ClaimRequest) -> Statement<'static> {
    let (store, written) = recorded::<DB>();
    store.claim(request).await.unwrap();
    written.lock().unwrap().pop().expect("a claim is one read of messages")
}

/// A store that writes down its statements instead of running them.
pub(crate) fn recorded<DB: TestDatabase>() -> (SqlStore<Recorder>, Written) {
    let written = Written::default();
    let store = SqlStore::new(Recorder(Arc::clone(&written)), DB::DIALECT, TableNames::default());
    (store, written)
}

pub(crate) type Written = Arc<Mutex<Vec<Statement<'static>>>>;

pub(crate) struct Recorder(Written);

#[async_trait]
impl Driver for Recorder {
    async fn messages(
        &self,
        _session: Session,
        statement: Statement<'_>,
        _limit: usize,
        _max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        self.0.lock().unwrap().push(owned(statement));
        Ok(Claim::default())
    }

    async fn query(&self, _session: Session, _statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        unreachable!("neither a claim nor a purge reads a small result")
    }

    async fn transaction(
        &self,
        _session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        for step in steps {
            let Step::Write(statement) = step else { unreachable!("a purge only writes") };
            self.0.lock().unwrap().push(owned(statement));
        }
        Ok(TransactionResult::default())
    }

    async fn script(&self, _sql: &str) -> Result<(), StoreError> {
        unreachable!("neither is a script")
    }
}

pub(crate) fn owned(statement: Statement<'_>) -> Statement<'static> {
    use outbox_sql::Value;
    let owned = |value| match value {
        Value::I64(value) => Value::I64(value),
        Value::Text(value) => Value::Text(value.map(|text| text.into_owned().into())),
        Value::Uuid(value) => Value::Uuid(value),
        Value::Bytes(value) => Value::Bytes(value.map(|bytes| bytes.into_owned().into())),
        Value::I64Array(values) => Value::I64Array(values),
        Value::UuidArray(values) => Value::UuidArray(values),
        Value::TextArray(values) => Value::TextArray(
            values.into_iter().map(|value| value.map(|text| text.into_owned().into())).collect(),
        ),
        other => unreachable!("no such value is bound here: {other:?}"),
    };
    let values = statement.values.into_iter().map(owned).collect();
    Statement::once(statement.sql, values)
}
