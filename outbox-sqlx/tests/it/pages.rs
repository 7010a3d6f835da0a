//! The SQL of the pages in `docs` does what they say.

use std::path::Path;
use std::sync::Arc;

use outbox_conformance::{StoreFixture as _, run_case};
use outbox_core::{MessageId, OutboxMessage};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use crate::fixture::{Fixture, TestDatabase};

/// The text of a page.
pub(crate) fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The blocks of a page with these words behind their fence, in the page's order.
pub(crate) fn blocks(page: &str, words: &[&str]) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if language.split_whitespace().eq(words.iter().copied()) {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// What the databases are called behind a fence.
fn name<DB: TestDatabase>() -> &'static str {
    match DB::DIALECT {
        outbox_sql::Dialect::Postgres => "postgres",
        outbox_sql::Dialect::MySql => "mysql",
        _ => "sqlite",
    }
}

async fn run<DB: TestDatabase>(fixture: &Fixture<DB>, sql: &str) {
    let mut connection = fixture.pool.acquire().await.unwrap();
    let text = AssertSqlSafe(sql.to_owned()).into_sql_str();
    DB::script(&mut connection, text).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

/// Each statement that stands by itself runs on a fresh outbox. Returns how many there are.
async fn run_all<DB: TestDatabase>(fixture: &Fixture<DB>) -> usize {
    let mut count = 0;
    for name_of_page in ["operations.md", "tuning.md", "debezium.md", "migration.md"] {
        for sql in blocks(&page(name_of_page), &["sql", name::<DB>()]) {
            run(fixture, &sql).await;
            count += 1;
        }
    }
    count
}

/// The statement of a step of the migration.
fn step<DB: TestDatabase>(step: &str) -> String {
    let mut found = blocks(&page("migration.md"), &["sql", name::<DB>(), &format!("step={step}")]);
    assert_eq!(found.len(), 1, "{step}");
    found.remove(0)
}

/// What a service with the old table inserts.
fn old_row(id: MessageId, key: &str, minute: usize, published: bool) -> String {
    let published = if published { "'2026-01-01 01:00:00'" } else { "NULL" };
    format!(
        "INSERT INTO outbox (id, aggregate, type, payload, created_at, published_at) VALUES \
         ('{id}', '{key}', 'orders.placed', '{{\"minute\": {minute}}}', '2026-01-01 00:{minute:02}:00', {published})"
    )
}

fn new_message(key: &str) -> OutboxMessage {
    OutboxMessage::json("orders.placed", &serde_json::json!({ "minute": 59 }))
        .unwrap()
        .ordering_key(key)
        .build()
        .unwrap()
}

/// The old table with rows of two keys, the first of them published, and the bridge.
async fn bridged<DB: TestDatabase>(fixture: &Fixture<DB>) -> Vec<MessageId> {
    run(fixture, &step::<DB>("old")).await;
    let ids: Vec<MessageId> = (0..5).map(|_| MessageId::new()).collect();
    // Not in the order of their times.
    for minute in [3, 0, 2, 1] {
        run(fixture, &old_row(ids[minute], ["a", "b"][minute % 2], minute, minute == 0)).await;
    }
    run(fixture, &step::<DB>("bridge")).await;
    ids
}

/// What waits comes first and in its order, then what old and new writers write, in the order in which they do.
async fn a_bridge_keeps_order_and_ids<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let ids = bridged(&fixture).await;
    run(&fixture, &old_row(ids[4], "a", 4, false)).await;
    let new = new_message("a");
    fixture.enqueue(std::slice::from_ref(&new)).await;

    let rows = fixture.fresh().await;
    let found: Vec<MessageId> = rows.iter().map(|row| *row.message.id()).collect();
    assert_eq!(found, [ids[1], ids[2], ids[3], ids[4], *new.id()]);
    for (row, minute) in rows.iter().zip(1..5) {
        let message = &row.message;
        assert_eq!(message.topic().as_str(), "orders.placed");
        assert_eq!(message.ordering_key().unwrap().as_str(), ["a", "b"][minute % 2]);
        assert_eq!(message.content_type(), "application/json");
        assert_eq!(message.payload(), format!("{{\"minute\": {minute}}}").as_bytes());
        let age = message.created_at().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        // 2026-01-01, and the minute.
        assert_eq!(age.as_secs(), 1_767_225_600 + 60 * minute as u64, "{age:?}");
        assert!(row.defect.is_none());
    }
    run(&fixture, &step::<DB>("end")).await;
    assert_eq!(fixture.fresh().await.len(), 5, "the messages stay");
}

/// What was delivered is marked, and what was not is there for the old publisher, also what a new writer has written.
async fn a_bridge_leads_back<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let ids = bridged(&fixture).await;
    run(&fixture, &old_row(ids[4], "a", 4, false)).await;
    let new = new_message("b");
    fixture.enqueue(std::slice::from_ref(&new)).await;
    let delivered: Vec<String> =
        fixture.fresh().await.iter().take(2).map(|row| row.seq.to_string()).collect();
    run(&fixture, &format!("DELETE FROM outbox_messages WHERE seq IN ({})", delivered.join(", "))).await;

    run(&fixture, &step::<DB>("back")).await;
    assert!(fixture.fresh().await.is_empty());
    let mut left: Vec<String> = [ids[3], ids[4], *new.id()].iter().map(ToString::to_string).collect();
    left.sort();
    assert_eq!(unpublished(&fixture).await, left);
    // A trigger that were still there would bring them to the new table again.
    run(&fixture, &old_row(MessageId::new(), "a", 5, false)).await;
    assert!(fixture.fresh().await.is_empty());
}

async fn unpublished<DB: TestDatabase>(fixture: &Fixture<DB>) -> Vec<String> {
    use futures_util::TryStreamExt as _;
    let to_text = match DB::DIALECT {
        outbox_sql::Dialect::Postgres => "id::text",
        _ => "id",
    };
    let sql = format!("SELECT {to_text} FROM outbox WHERE published_at IS NULL ORDER BY 1");
    let mut connection = fixture.pool.acquire().await.unwrap();
    let arguments = DB::arguments(Vec::new()).unwrap();
    let rows: Vec<DB::Row> = DB::fetch(&mut connection, sqlx::query_with(AssertSqlSafe(sql), arguments))
        .try_collect()
        .await
        .unwrap();
    let text = |row: &DB::Row| match DB::cell(row, 0).unwrap() {
        outbox_sql::Cell::Text(text) => text,
        other => panic!("{other:?}"),
    };
    rows.iter().map(text).collect()
}

macro_rules! on {
    ($module:ident, $database:ty, $statements:literal) => {
        mod $module {
            use super::*;

            #[test]
            fn the_statements_of_the_pages_run() {
                run_case::<Fixture<$database>, _, _>(|fixture| async move {
                    let count = run_all(&fixture).await;
                    assert!(count >= $statements, "{count} statements");
                });
            }

            #[test]
            fn a_bridge_keeps_order_and_ids() {
                run_case::<Fixture<$database>, _, _>(super::a_bridge_keeps_order_and_ids);
            }

            #[test]
            fn a_bridge_leads_back() {
                run_case::<Fixture<$database>, _, _>(super::a_bridge_leads_back);
            }
        }
    };
}

#[cfg(feature = "postgres")]
on!(postgres, sqlx::Postgres, 7);
#[cfg(feature = "mysql")]
on!(mysql, sqlx::MySql, 3);
#[cfg(feature = "sqlite")]
on!(sqlite, sqlx::Sqlite, 3);
