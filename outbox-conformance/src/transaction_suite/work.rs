use std::sync::Arc;

use outbox_core::{
    ClaimRequest, ClaimSource, OutboxAdmin, OutboxMessage, OutboxStore, Scope, ShardSet, StoredMessage,
    TopicFilter,
};

use super::{FixtureError, FixtureScope, PlainConnection, TransactionFixture};
use crate::StoreFixture;
use crate::store_suite::eventually::Patience;

pub(crate) const INSERT: &str = "INSERT INTO accounts (id, version) VALUES (1000000, 1)";
pub(crate) const COUNT: &str = "SELECT COUNT(*) FROM accounts WHERE id >= 1000000";

/// Makes the table of the business: accounts 1 to 200.
pub(crate) async fn accounts<F: TransactionFixture>(fixture: &F) -> Box<dyn PlainConnection> {
    let mut connection = fixture.connect().await;
    let create = "CREATE TABLE accounts (id BIGINT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)";
    connection.execute(create).await.unwrap();
    let rows: Vec<String> = (1..=200).map(|id| format!("({id}, 0)")).collect();
    let fill = format!("INSERT INTO accounts (id, version) VALUES {}", rows.join(", "));
    connection.execute(&fill).await.unwrap();
    connection
}

pub(crate) fn message(payload: &str) -> OutboxMessage {
    OutboxMessage::bytes("suite.transactions", payload.to_owned()).unwrap().build().unwrap()
}

/// All messages that are waiting, by `seq`.
pub(crate) async fn waiting<F: StoreFixture>(fixture: &F) -> Vec<StoredMessage> {
    let store = fixture.store();
    let shards = store.stats(0).await.unwrap().shards.len();
    let scope = Scope { shards: ShardSet::all(u8::try_from(shards).unwrap()), topics: TopicFilter::all() };
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let source = ClaimSource::Fresh { after };
        let request = ClaimRequest { scope: scope.clone(), source, limit: 1_000, max_bytes: usize::MAX >> 1 };
        let claim = store.claim(&request).await.unwrap();
        let Some(last) = claim.rows.last() else {
            return rows;
        };
        after = last.seq;
        rows.extend(claim.rows);
    }
}

/// Their payloads.
pub(crate) async fn payloads<F: StoreFixture>(fixture: &F) -> Vec<String> {
    let text = |row: StoredMessage| String::from_utf8(row.message.payload().to_vec()).unwrap();
    waiting(fixture).await.into_iter().map(text).collect()
}

/// Waits until no transaction is open that was when this was called.
pub(crate) async fn nothing_is_open<F: StoreFixture>(fixture: &F) {
    let (store, patience) = (fixture.store(), Patience::new());
    let mark = store.mark_late_commits().await.unwrap();
    while !store.late_commits_over(&mark).await.unwrap() {
        patience.pause("a transaction is still open").await;
    }
}

/// Makes the database end the transaction: by a deadlock in which it is the one that is given up, or by a statement that
/// does so by itself. Returns the error that the caller gets.
pub(crate) async fn end<F: TransactionFixture>(fixture: &F, scope: &mut dyn FixtureScope) -> FixtureError {
    let sql = fixture.sql();
    if let Some(statement) = sql.end {
        return scope.execute(statement).await.expect_err("it ends the transaction");
    }
    let mut rival = fixture.connect().await;
    rival.execute("BEGIN").await.unwrap();
    rival.execute(sql.never_give_up).await.unwrap();
    // So many rows that the rival's is the greater loss.
    let rows: Vec<String> = (1..=200).map(|id| format!("(-{id}, 0)")).collect();
    rival.execute(&format!("INSERT INTO accounts (id, version) VALUES {}", rows.join(", "))).await.unwrap();
    rival.execute("UPDATE accounts SET version = version + 1 WHERE id = 200").await.unwrap();
    scope.execute("UPDATE accounts SET version = version + 1 WHERE id = 1").await.unwrap();
    let (ours, theirs) = tokio::join!(
        scope.execute("UPDATE accounts SET version = version + 1 WHERE id = 200"),
        rival.execute("UPDATE accounts SET version = version + 1 WHERE id = 1"),
    );
    theirs.expect("the rival wins");
    rival.execute("ROLLBACK").await.unwrap();
    ours.expect_err("the deadlock ends it")
}

/// Shares a body.
pub(crate) fn body<B>(body: B) -> super::Body
where
    B: for<'t> Fn(&'t mut dyn FixtureScope) -> futures_util::future::BoxFuture<'t, Result<(), FixtureError>>
        + Send
        + Sync
        + 'static,
{
    Arc::new(body)
}
