use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{SimpleConnection, TransactionManager};
use diesel::sql_types::{BigInt, Text};
use diesel::{Connection, MysqlConnection, OptionalExtension, RunQueryDsl, dsl, select};
use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{Fence, LeaseRequest, OutboxStore, Outcome, RelayId, StoreErrorKind};
use outbox_diesel::MySqlStore;
use tokio::time::Instant;

use crate::fixture::{Fixture, TestDatabase};
use crate::writer::message;

type MySqlFixture = Fixture<MysqlConnection>;

outbox_conformance::store_suite!(MySqlFixture);
outbox_conformance::transaction_suite!(MySqlFixture);
outbox_conformance::inbox_suite!(MySqlFixture);

mod scope {
    crate::fixture::cases! { super::MySqlFixture => scope:
        a_transaction_is_a_connection
        a_nested_transaction_takes_its_messages_along
        nothing_is_flushed_in_a_nested_transaction
        a_nested_transaction_that_was_left_open_is_not_committed
        a_panic_leaves_nothing_open
        a_connection_that_is_in_a_transaction_is_refused
        a_connection_that_was_lost_is_closed_by_its_pool
        a_commit_whose_answer_is_lost_is_unknown
    }
}

mod writer {
    crate::fixture::cases! { super::MySqlFixture => writer:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        an_error_ends_the_users_closure
        an_event_is_written_or_says_why_not
        a_connection_may_be_one_of_a_pool
        a_thousand_messages_in_one_call
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

impl TestDatabase for MysqlConnection {
    type Made = String;

    const SQL: &DatabaseSql = &DatabaseSql::MYSQL;

    fn create(name: &str) -> Option<(String, String)> {
        let mut server = MysqlConnection::establish(&url()).ok()?;
        server.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Some((format!("{}/{name}", url()), name.to_owned()))
    }

    fn remove(name: String) {
        let mut server = MysqlConnection::establish(&url()).unwrap();
        server.batch_execute(&format!("DROP DATABASE {name}")).unwrap();
    }
}

fn url() -> String {
    let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
    let url = url.unwrap_or_else(|_| "mysql://root@127.0.0.1:3306".to_owned());
    // Without a database: each case has its own.
    let (scheme, rest) = url.split_once("://").unwrap();
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap())
}

fn case<Fut>(case: impl FnOnce(Arc<MySqlFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<MySqlFixture, _, _>(case);
}

/// While a settle is under way, and even stuck, producers insert: the relay is READ COMMITTED whatever the server's
/// default is, so it locks no gaps.
#[test]
fn a_settle_does_not_block_producers() {
    case(|fixture| async move {
        let default = select(dsl::sql::<Text>("@@GLOBAL.tx_isolation"));
        let default: String = default.get_result(&mut fixture.producer()).unwrap();
        assert_eq!(default, "REPEATABLE-READ", "the default is what this case is about");
        fixture.enqueue(&[message(), message(), message()]).await;
        let store = fixture.store();
        let request =
            LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(600), label: String::new() };
        let leased = store.acquire(&request, 64).await.unwrap();
        let fence = Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)));
        let rows = fixture.fresh().await;

        let mut holder = fixture.producer();
        <MysqlConnection as Connection>::TransactionManager::begin_transaction(&mut holder).unwrap();
        holder
            .batch_execute(&format!("SELECT seq FROM outbox_messages WHERE seq = {} FOR UPDATE", rows[2].seq))
            .unwrap();
        let mut outcomes: Vec<_> = rows.iter().map(|row| (row.row, Outcome::Delivered)).collect();
        // A row that is gone: at REPEATABLE READ looking for it would lock the gap in which new rows are inserted.
        outcomes.insert(0, (outbox_core::RowId::fresh(rows[2].seq + 1_000), Outcome::Delivered));
        let settle = tokio::spawn({
            let store = fixture.store();
            async move { store.settle(&fence, &outcomes).await }
        });
        assert_eq!(stuck(&fixture).await, "READ COMMITTED");

        let mut producer = fixture.producer();
        producer.batch_execute("SET innodb_lock_wait_timeout = 1").unwrap();
        let enqueued = producer.transaction(|connection| fixture.writer.enqueue(connection, &message()));
        enqueued.expect("the producer does not wait");

        <MysqlConnection as Connection>::TransactionManager::rollback_transaction(&mut holder).unwrap();
        assert_eq!(settle.await.unwrap().unwrap().applied, 3);
    });
}

/// Waits until the settle waits for a lock, and returns its isolation level.
async fn stuck(fixture: &MySqlFixture) -> String {
    let give_up = Instant::now() + Duration::from_secs(20);
    let mut connection = fixture.producer();
    loop {
        let waiting = dsl::sql::<Text>(
            "SELECT trx_isolation_level FROM information_schema.innodb_trx
             JOIN information_schema.processlist ON id = trx_mysql_thread_id
             WHERE trx_state = 'LOCK WAIT' AND db = database()",
        );
        if let Some(isolation) = waiting.get_result(&mut connection).optional().unwrap() {
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
        let mut connection = fixture.producer();
        let relays = dsl::sql::<BigInt>(
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist
             WHERE db = database() AND id <> connection_id()",
        );
        let relays: Vec<i64> = relays.load(&mut connection).unwrap();
        assert!(!relays.is_empty(), "the relay has connections of its own");
        for id in relays {
            let _ = connection.batch_execute(&format!("KILL {id}"));
        }
        let errors = [store.is_empty().await, store.is_empty().await];
        assert_eq!(errors[0].as_ref().unwrap_err().kind(), StoreErrorKind::Unavailable, "{errors:?}");
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

/// Also a URL that diesel does not understand is not repeated.
#[tokio::test]
async fn a_wrong_url_is_not_repeated() {
    for url in [
        "mysql://somebody:hunter2canary@host:99999/shop",
        "mysql://somebody:hunter2canary@127.0.0.1:1/shop/more",
        "mysql://somebody:hunter2canary@127.0.0.1:1/shop?ssl_mode=hunter2canary",
        "mysql://somebody:hunter2canary%ff@127.0.0.1:1/shop",
        "mysql://somebody:hunter2canary%00@127.0.0.1:1/shop",
        "hunter2canary",
    ] {
        let error = MySqlStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2canary"), "{error}");
    }
}

/// A refused log-in is no matter of waiting, and does not show the password.
#[tokio::test]
async fn a_refused_log_in_is_no_outage() {
    if MysqlConnection::establish(&url()).is_err() {
        return;
    }
    let (_, at) = url().rsplit_once('@').map(|(user, at)| (user.to_owned(), at.to_owned())).unwrap();
    let error = MySqlStore::connect(&format!("mysql://nobody:hunter2canary@{at}/mysql")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Other, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2canary"), "{error}");
}

/// A server that accepts and says nothing is an error after ten seconds, and keeps nobody waiting in the meantime. The
/// client library would wait for ever.
#[tokio::test]
async fn a_silent_server_is_unavailable() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let connect =
        tokio::spawn(async move { MySqlStore::connect(&format!("mysql://somebody@{at}/shop")).await });
    let _accepted = tokio::task::spawn_blocking(move || silent.accept().unwrap()).await.unwrap();
    assert!(
        !connect.is_finished(),
        "the runtime of this test has one thread, which is not the one that waits"
    );
    let error = connect.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("mysql database shop at {at}: ")), "{error}");
    assert!(error.to_string().contains("no answer within 10 s"), "{error}");
}
