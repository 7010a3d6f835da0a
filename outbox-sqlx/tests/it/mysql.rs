use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{Fence, LeaseRequest, OutboxStore, Outcome, RelayId, StoreErrorKind};
use outbox_sqlx::MySqlStore;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, MySql, MySqlPool};
use tokio::time::Instant;

use crate::explain;
use crate::fixture::{Fixture, TestDatabase};
use crate::inbox_plans;
use crate::writer::message;

type MySqlFixture = Fixture<MySql>;

outbox_conformance::store_suite!(MySqlFixture);
outbox_conformance::transaction_suite!(MySqlFixture);
outbox_conformance::inbox_suite!(MySqlFixture);

mod writer {
    crate::writer::writer_cases! { super::MySqlFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

impl TestDatabase for MySql {
    const SQL: &DatabaseSql = &DatabaseSql::MYSQL;
    async fn create(name: &str) -> Option<MySqlPool> {
        let mut server = server().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await.unwrap();
        Some(MySqlPool::connect_lazy_with(options().database(name)))
    }

    async fn remove(name: &str) {
        let sql = format!("DROP DATABASE {name}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server().await.unwrap()).await.unwrap();
    }
}

fn options() -> MySqlConnectOptions {
    let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
    url.as_deref().unwrap_or("mysql://root@127.0.0.1:3306").parse().unwrap()
}

async fn server() -> Option<MySqlConnection> {
    options().connect().await.ok()
}

fn case<Fut>(case: impl FnOnce(Arc<MySqlFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<MySqlFixture, _, _>(case);
}

/// No plan of a claim sorts or reads by another index than the primary key.
#[test]
fn a_claim_walks_the_primary_key() {
    case(|fixture| async move {
        for plan in explain::claims(&fixture, "EXPLAIN ", "ANALYZE TABLE outbox_messages").await {
            assert!(plan.contains("PRIMARY"), "{plan}");
            assert!(!plan.contains("filesort") && !plan.contains("temporary"), "{plan}");
        }
    });
}

/// Only what is old is read, and nobody's newer message.
#[test]
fn a_purge_walks_the_index_of_the_time() {
    case(|fixture| async move {
        inbox_plans::fill(&fixture, 12, "unhex(md5(uuid()))", "utc_timestamp(6) - INTERVAL 5000 SECOND")
            .await;
        for (statement, index) in
            inbox_plans::purge::<MySql>().await.iter().zip(["processed_at", "last_attempt_at"])
        {
            let plan = explain::plan(&fixture, "EXPLAIN ", statement).await;
            assert!(plan.contains(index) && plan.contains("eq_ref"), "{plan}");
            assert!(!plan.contains("filesort") && !plan.contains("temporary"), "{plan}");
        }
    });
}

/// While a settle is under way, and even stuck, producers insert: the relay is READ COMMITTED whatever the server's
/// default is, so it locks no gaps.
#[test]
fn a_settle_does_not_block_producers() {
    case(|fixture| async move {
        let default: String =
            sqlx::query_scalar("SELECT @@GLOBAL.tx_isolation").fetch_one(&fixture.pool).await.unwrap();
        assert_eq!(default, "REPEATABLE-READ", "the default is what this case is about");
        fixture.enqueue(&[message(), message(), message()]).await;
        let store = fixture.store();
        let request =
            LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(600), label: String::new() };
        let leased = store.acquire(&request, 64).await.unwrap();
        let fence = Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)));
        let rows = fixture.fresh().await;

        let mut holder = fixture.pool.begin().await.unwrap();
        sqlx::query("SELECT seq FROM outbox_messages WHERE seq = ? FOR UPDATE")
            .bind(rows[2].seq)
            .execute(&mut *holder)
            .await
            .unwrap();
        let mut outcomes: Vec<_> = rows.iter().map(|row| (row.row, Outcome::Delivered)).collect();
        // A row that is gone: at REPEATABLE READ looking for it would lock the gap in which new rows are inserted.
        outcomes.insert(0, (outbox_core::RowId::fresh(rows[2].seq + 1_000), Outcome::Delivered));
        let settle = tokio::spawn({
            let store = fixture.store();
            async move { store.settle(&fence, &outcomes).await }
        });
        let isolation = stuck(&fixture).await;
        assert_eq!(isolation, "READ COMMITTED");

        let mut producer = fixture.pool.begin().await.unwrap();
        sqlx::raw_sql("SET innodb_lock_wait_timeout = 1").execute(&mut *producer).await.unwrap();
        fixture.writer.enqueue(&mut producer, &message()).await.expect("the producer does not wait");
        producer.commit().await.unwrap();

        holder.rollback().await.unwrap();
        assert_eq!(settle.await.unwrap().unwrap().applied, 3);
    });
}

/// Waits until the settle waits for a lock, and returns its isolation level.
async fn stuck(fixture: &MySqlFixture) -> String {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting: Option<String> = sqlx::query_scalar(
            "SELECT trx_isolation_level FROM information_schema.innodb_trx
             JOIN information_schema.processlist ON id = trx_mysql_thread_id
             WHERE trx_state = 'LOCK WAIT' AND db = database()",
        )
        .fetch_optional(&fixture.pool)
        .await
        .unwrap();
        if let Some(isolation) = waiting {
            return isolation;
        }
        assert!(Instant::now() < give_up, "the settle never waited");
        // Whoever reads this table more often than every 100 ms keeps seeing the same.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// An operation on a connection that was cut fails once; the next one opens another.
#[test]
fn a_cut_connection_is_replaced() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let relays: Vec<u64> = sqlx::query_scalar(
            "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist
             WHERE db = database() AND id <> connection_id()",
        )
        .fetch_all(&mut *fixture.pool.acquire().await.unwrap())
        .await
        .unwrap();
        assert!(!relays.is_empty(), "the relay has connections of its own");
        for id in relays {
            let _ = sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}")))
                .execute(&mut server().await.unwrap())
                .await;
        }
        let errors = [store.is_empty().await, store.is_empty().await];
        assert_eq!(errors[0].as_ref().unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(errors[1].as_ref().unwrap());
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("mysql://somebody:{secret}@127.0.0.1:1/shop");
    let error = MySqlStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("mysql database shop at 127.0.0.1:1"), "{error}");
    let store = MySqlStore::from_url(&url).unwrap();
    for text in [format!("{error} {error:?}"), format!("{store:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}
