use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Text};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, RunQueryDsl, SimpleAsyncConnection};
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{Fence, LeaseRequest, OutboxStore, Outcome, RelayId, StoreErrorKind, TransactionError};
use outbox_diesel::AsyncMySqlStore;
use tokio::time::Instant;

use super::fixture::{Fixture, TestDatabase};
use super::writer::message;

type MySqlFixture = Fixture<AsyncMysqlConnection>;

outbox_conformance::store_suite!(MySqlFixture);
outbox_conformance::transaction_suite!(MySqlFixture);
outbox_conformance::inbox_suite!(MySqlFixture);

mod writer {
    crate::asynchronous::writer::cases! { writer, super::MySqlFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

mod consumer {
    crate::asynchronous::writer::cases! { consumer, super::MySqlFixture:
        what_is_not_applied_costs_no_connection
    }
}

mod dropped {
    crate::asynchronous::writer::cases! { dropped, super::MySqlFixture:
        a_dropped_transaction_lets_go_of_its_locks
        a_dropped_transaction_takes_its_connection_along
        a_future_dropped_anywhere_spoils_no_pool
        a_consumer_dropped_anywhere_has_effects_once
        a_dropped_nested_transaction_is_not_committed
        nested_transactions_are_savepoints
        a_second_transaction_is_refused
    }
}

impl TestDatabase for AsyncMysqlConnection {
    const SQL: &'static DatabaseSql = &DatabaseSql::MYSQL;

    type User = Self;
    type Manager = AsyncDieselConnectionManager<Self>;

    fn manager(url: &str) -> Self::Manager {
        AsyncDieselConnectionManager::new(url)
    }

    async fn number(connection: &mut Self, sql: &str) -> QueryResult<i64> {
        diesel::select(diesel::dsl::sql::<BigInt>(&format!("({sql})"))).get_result(connection).await
    }

    async fn create(name: &str) -> Option<String> {
        let mut server = server().await?;
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Some(format!("{}/{name}", server_url()))
    }

    async fn remove(name: &str) {
        let mut server = server().await.unwrap();
        server.batch_execute(&format!("DROP DATABASE {name}")).await.unwrap();
    }

    fn text(hex: &str) -> String {
        format!("CONVERT(X'{hex}' USING utf8mb4)")
    }
}

fn server_url() -> String {
    let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
    let url = url.as_deref().unwrap_or("mysql://root@127.0.0.1:3306");
    // Without a database: each case has its own.
    let (scheme, rest) = url.split_once("://").unwrap();
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap())
}

async fn server() -> Option<AsyncMysqlConnection> {
    AsyncMysqlConnection::establish(&server_url()).await.ok()
}

fn case<Fut>(case: impl FnOnce(Arc<MySqlFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<MySqlFixture, _, _>(case);
}

async fn text(connection: &mut AsyncMysqlConnection, expression: &str) -> String {
    diesel::select(diesel::dsl::sql::<Text>(expression)).get_result(connection).await.unwrap()
}

/// While a settle is under way, and even stuck, producers insert: the relay is READ COMMITTED whatever the server's
/// default is, so it locks no gaps.
#[test]
fn a_settle_does_not_block_producers() {
    case(|fixture| async move {
        let mut holder = fixture.producer().await;
        let default = text(&mut holder, "@@GLOBAL.tx_isolation").await;
        assert_eq!(default, "REPEATABLE-READ", "the default is what this case is about");
        fixture.enqueue(&[message(), message(), message()]).await;
        let store = fixture.store();
        let request =
            LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(600), label: String::new() };
        let leased = store.acquire(&request, 64).await.unwrap();
        let fence = Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)));
        let rows = fixture.fresh().await;

        let lock = format!("BEGIN; SELECT seq FROM outbox_messages WHERE seq = {} FOR UPDATE", rows[2].seq);
        holder.batch_execute(&lock).await.unwrap();
        let mut outcomes: Vec<_> = rows.iter().map(|row| (row.row, Outcome::Delivered)).collect();
        // A row that is gone: at REPEATABLE READ looking for it would lock the gap in which new rows are inserted.
        outcomes.insert(0, (outbox_core::RowId::fresh(rows[2].seq + 1_000), Outcome::Delivered));
        let settle = tokio::spawn({
            let store = fixture.store();
            async move { store.settle(&fence, &outcomes).await }
        });
        let mut observer = fixture.producer().await;
        assert_eq!(stuck(&mut observer).await, "READ COMMITTED");

        let mut producer = fixture.producer().await;
        producer.batch_execute("SET innodb_lock_wait_timeout = 1").await.unwrap();
        fixture.writer.enqueue(&mut producer, &message()).await.expect("the producer does not wait");

        holder.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(settle.await.unwrap().unwrap().applied, 3);
    });
}

/// Waits until the settle waits for a lock, and returns its isolation level.
async fn stuck(observer: &mut AsyncMysqlConnection) -> String {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting = text(
            observer,
            "coalesce((SELECT max(trx_isolation_level) FROM information_schema.innodb_trx
             JOIN information_schema.processlist ON id = trx_mysql_thread_id
             WHERE trx_state = 'LOCK WAIT' AND db = database()), '')",
        )
        .await;
        if !waiting.is_empty() {
            return waiting;
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
        let mut user = fixture.producer().await;
        let relays = "(SELECT count(*) FROM information_schema.processlist
                       WHERE db = database() AND id <> connection_id())";
        let relays = diesel::select(diesel::dsl::sql::<BigInt>(relays));
        assert!(
            relays.get_result::<i64>(&mut user).await.unwrap() > 0,
            "the relay has connections of its own"
        );
        let ids = "(SELECT group_concat(id) FROM information_schema.processlist
                    WHERE db = database() AND id <> connection_id())";
        for id in text(&mut user, ids).await.split(',') {
            user.batch_execute(&format!("KILL {id}")).await.unwrap();
        }
        let errors = [store.is_empty().await, store.is_empty().await];
        assert_eq!(errors[0].as_ref().unwrap_err().kind(), StoreErrorKind::Unavailable, "{:?}", errors[0]);
        assert!(errors[1].as_ref().unwrap());
    });
}

/// A commit whose answer is lost may be one: nobody says that nothing is committed, and nobody tries again.
#[test]
fn a_commit_without_an_answer_is_unknown() {
    case(|fixture| async move {
        let mut user = fixture.users.get().await.unwrap();
        let id = AsyncMysqlConnection::number(&mut user, "SELECT connection_id()").await.unwrap();
        let tx = fixture.writer.begin(&mut *user).await.unwrap();
        fixture.producer().await.batch_execute(&format!("KILL {id}")).await.unwrap();
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, TransactionError::Unknown(_)), "{error:?}");
        let again = fixture.writer.begin(&mut *user).await.map(drop);
        assert!(matches!(again, Err(Error::BrokenTransactionManager)), "{again:?}");
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("mysql://somebody:{secret}@127.0.0.1:1/shop");
    let error = AsyncMySqlStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("mysql database shop at 127.0.0.1:1"), "{error}");
    let store = AsyncMySqlStore::from_url(&url).unwrap();
    for text in [format!("{error} {error:?}"), format!("{store:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
    for wrong in [
        format!("mysql://somebody:{secret}@host:99999/shop"),
        format!("postgres://somebody:{secret}@host/shop"),
        format!("mysql://somebody:x@host/shop?{secret}={secret}"),
    ] {
        let invalid = AsyncMySqlStore::from_url(&wrong).unwrap_err();
        assert_eq!(invalid.kind(), StoreErrorKind::Invalid, "{wrong}");
        assert!(!format!("{invalid} {invalid:?}").contains(secret), "{invalid}");
    }
}
