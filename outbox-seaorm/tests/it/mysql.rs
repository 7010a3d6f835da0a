use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::{DatabaseSql, PlainConnection};
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{
    Fence, Isolation, LeaseRequest, OutboxStore, Outcome, RelayId, StoreErrorKind, TransactionPolicy,
};
use outbox_seaorm::SeaOrmStore;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, TransactionTrait};
use tokio::time::Instant;

use crate::fixture::{Fixture, TestDatabase, select};
use crate::transactions::Plain;
use crate::writer::message;

pub(crate) struct MySql;
type MySqlFixture = Fixture<MySql>;

outbox_conformance::store_suite!(MySqlFixture);
outbox_conformance::transaction_suite!(MySqlFixture);
outbox_conformance::inbox_suite!(MySqlFixture);

mod writer {
    crate::writer::writer_cases! { super::MySqlFixture:
        a_message_shares_the_fate_of_its_transaction
        a_message_shares_the_fate_of_its_closure
        a_savepoint_takes_its_messages_along
        an_executor_must_be_a_transaction
        a_thousand_messages_in_one_call
        an_event_is_emitted
        every_text_comes_back
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
        a_store_may_outlive_its_runtime
    }
}

mod inbox {
    crate::inbox::inbox_cases! { super::MySqlFixture:
        an_admission_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_admissions_along
        an_executor_must_be_a_transaction
        a_guard_is_a_connection
        names_can_be_chosen
    }
}

#[cfg(feature = "migration")]
mod migration {
    crate::migration::migration_cases! { super::MySqlFixture }
}

impl TestDatabase for MySql {
    const SQL: &DatabaseSql = &DatabaseSql::MYSQL;
    #[cfg(feature = "migration")]
    const TABLES_ROLL_BACK: bool = false;
    const CONNECTIONS: &str = "SELECT count(*) FROM information_schema.processlist WHERE db = database()";

    async fn create(name: &str) -> Option<DatabaseConnection> {
        let server = server().await?;
        server.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        server.close().await.unwrap();
        let mut options = ConnectOptions::new(format!("{}/{name}", url()));
        options.connect_lazy(true);
        Some(Database::connect(options).await.unwrap())
    }

    async fn acquire(db: &DatabaseConnection) -> Box<dyn PlainConnection> {
        Box::new(Plain(db.get_mysql_connection_pool().acquire().await.unwrap()))
    }

    async fn remove(name: &str) {
        let server = server().await.unwrap();
        server.execute_unprepared(&format!("DROP DATABASE {name}")).await.unwrap();
        server.close().await.unwrap();
    }
}

/// Without the name of a database.
fn url() -> String {
    let url = std::env::var("OUTBOX_TEST_MYSQL_URL");
    let url = url.unwrap_or_else(|_| "mysql://root@127.0.0.1:3306".to_owned());
    let (scheme, rest) = url.split_once("://").unwrap();
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap())
}

async fn server() -> Option<DatabaseConnection> {
    let mut options = ConnectOptions::new(url());
    options.max_connections(1).acquire_timeout(Duration::from_secs(5));
    Database::connect(options).await.ok()
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
        let default = select::<String>(&fixture.db, "SELECT @@GLOBAL.tx_isolation").await;
        assert_eq!(default, ["REPEATABLE-READ"], "the default is what this case is about");
        fixture.enqueue(&[message(), message(), message()]).await;
        let store = fixture.store();
        let request =
            LeaseRequest { relay: RelayId::new(), ttl: Duration::from_secs(600), label: String::new() };
        let leased = store.acquire(&request, 64).await.unwrap();
        let fence = Fence::new(request.relay, leased.iter().map(|shard| (shard.shard, shard.epoch)));
        let rows = fixture.fresh().await;

        let holder = fixture.db.begin().await.unwrap();
        let lock = format!("SELECT seq FROM outbox_messages WHERE seq = {} FOR UPDATE", rows[2].seq);
        assert_eq!(select::<i64>(&holder, &lock).await, [rows[2].seq]);
        let mut outcomes: Vec<_> = rows.iter().map(|row| (row.row, Outcome::Delivered)).collect();
        // A row that is gone: at REPEATABLE READ looking for it would lock the gap in which new rows are inserted.
        outcomes.insert(0, (outbox_core::RowId::fresh(rows[2].seq + 1_000), Outcome::Delivered));
        let settle = tokio::spawn({
            let store = fixture.store();
            async move { store.settle(&fence, &outcomes).await }
        });
        assert_eq!(stuck(&fixture).await, "READ COMMITTED");

        let producer = fixture.db.begin().await.unwrap();
        producer.execute_unprepared("SET innodb_lock_wait_timeout = 1").await.unwrap();
        fixture.writer.enqueue(&producer, &message()).await.expect("the producer does not wait");
        producer.commit().await.unwrap();

        holder.rollback().await.unwrap();
        assert_eq!(settle.await.unwrap().unwrap().applied, 3);
    });
}

/// Waits until the settle waits for a lock, and returns its isolation level.
async fn stuck(fixture: &MySqlFixture) -> String {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting = select::<String>(
            &fixture.db,
            "SELECT trx_isolation_level FROM information_schema.innodb_trx
             JOIN information_schema.processlist ON id = trx_mysql_thread_id
             WHERE trx_state = 'LOCK WAIT' AND db = database()",
        );
        if let Some(isolation) = waiting.await.pop() {
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
        let txn = fixture.db.begin().await.unwrap();
        let relays = select::<u64>(
            &txn,
            "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist
             WHERE db = database() AND id <> connection_id()",
        );
        let relays = relays.await;
        assert!(!relays.is_empty(), "the relay has connections of its own");
        for id in relays {
            let _ = txn.execute_unprepared(&format!("KILL {id}")).await;
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
    let error = SeaOrmStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("mysql database shop at 127.0.0.1:1"), "{error}");
    let store = SeaOrmStore::from_url(&url).unwrap();
    for text in [format!("{error} {error:?}"), format!("{store:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// The level that was asked for is the one that is in force.
#[test]
fn the_isolation_level_is_in_force() {
    case(|fixture| async move {
        for (isolation, expected) in [
            (Isolation::ReadCommitted, "READ COMMITTED"),
            (Isolation::RepeatableRead, "REPEATABLE READ"),
            (Isolation::Serializable, "SERIALIZABLE"),
        ] {
            let policy = TransactionPolicy::new().isolation(isolation);
            let mut tx = fixture.writer.begin_with(&fixture.db, &policy).await.unwrap();
            // It is not in the list before it has done something.
            tx.add(message());
            tx.flush().await.unwrap();
            let give_up = Instant::now() + Duration::from_secs(20);
            let level = "SELECT trx_isolation_level FROM information_schema.innodb_trx
                         WHERE trx_mysql_thread_id = connection_id()";
            // The table is a cache: at first it may have the transaction before on this connection.
            while select::<String>(&tx, level).await != [expected] {
                assert!(Instant::now() < give_up, "it is not {expected}");
                // Whoever reads this table more often than every 100 ms keeps seeing the same.
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            tx.commit().await.unwrap();
        }
    });
}
