//! Notifications of PostgreSQL where something is in between.

use std::time::Duration;

use outbox_conformance::{Pooler, Proxy, StoreFixture, run_case};
use outbox_core::{OutboxAdmin, OutboxStore, Severity, StoreErrorKind, Wakeup};
use outbox_sql::TableNames;
use outbox_sqlx::{PostgresNotifier, PostgresStore, PostgresWakeup, WakeupError};
use sqlx::postgres::PgListener;
use sqlx::{PgPool, Postgres};

use crate::fixture::Fixture;

type PostgresFixture = Fixture<Postgres>;

/// Nothing here takes longer, unless it never comes.
const LIMIT: Duration = Duration::from_secs(20);

/// The same database by way of this port.
fn by_way_of(port: u16, pool: &PgPool) -> PgPool {
    PgPool::connect_lazy_with((*pool.connect_options()).clone().host("127.0.0.1").port(port))
}

fn port(pool: &PgPool) -> u16 {
    pool.connect_options().get_port()
}

/// What `LISTEN` can't pass is seen at the start, and said; so is it by the store, which can't pass it either.
#[test]
fn a_transaction_pooler_is_seen() {
    run_case::<PostgresFixture, _, _>(|fixture| async move {
        let pooler = Pooler::to(port(&fixture.pool)).await;
        let pool = by_way_of(pooler.port(), &fixture.pool);
        let error = PostgresWakeup::connect(&pool, &TableNames::default()).await.unwrap_err();
        assert!(matches!(error, WakeupError::Pooler), "{error}");

        let store = PostgresStore::new(&pool);
        assert!(store.detect_pooler().await.unwrap());
        let error = store.check().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{error}");
        let found = store.diagnose().await;
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.severity, Severity::Error);
        assert!(finding.detail.contains("a transaction pooler is between"), "{finding}");
        assert!(!fixture.store().detect_pooler().await.unwrap(), "without it there is none");
    });
}

/// `NOTIFY` is a matter of a transaction, and so the writers may be behind a pooler, if the listener is not.
#[test]
fn the_writers_may_be_behind_a_pooler() {
    run_case::<PostgresFixture, _, _>(|fixture| async move {
        let pooler = Pooler::to(port(&fixture.pool)).await;
        let (writers, names) = (by_way_of(pooler.port(), &fixture.pool), TableNames::default());
        let mut wakeup =
            PostgresWakeup::connect_apart(&fixture.pool, &writers, &names).await.expect("it arrives");
        let notifier = PostgresNotifier::new(&writers, &names);
        notifier.notify();
        tokio::time::timeout(LIMIT, wakeup.wait()).await.expect("it is woken");
    });
}

/// Writers whose notifications go to another database are found at the start, and not by waiting.
#[test]
fn writers_of_another_database_are_not_heard() {
    run_case::<PostgresFixture, _, _>(|fixture| async move {
        let elsewhere =
            PgPool::connect_lazy_with((*fixture.pool.connect_options()).clone().database("postgres"));
        let connected =
            PostgresWakeup::connect_apart(&fixture.pool, &elsewhere, &TableNames::default()).await;
        let error = connected.unwrap_err();
        assert!(matches!(error, WakeupError::NotDelivered { .. }), "{error}");
    });
}

/// A firewall forgets a connection that says nothing for long: it stays open, and nothing arrives any more.
#[test]
fn a_connection_that_dies_in_silence_is_replaced() {
    run_case::<PostgresFixture, _, _>(|fixture| async move {
        let proxy = Proxy::to(port(&fixture.pool)).await;
        let (pool, names) = (by_way_of(proxy.port(), &fixture.pool), TableNames::default());
        let wakeup = PostgresWakeup::connect(&pool, &names).await.unwrap();
        let mut wakeup = wakeup.silence_limit(Duration::from_millis(200));
        let mut witness = PgListener::connect_with(&fixture.pool).await.unwrap();
        witness.listen(wakeup.channel()).await.unwrap();

        proxy.black_hole(true);
        let notifier = PostgresNotifier::new(&fixture.pool, &names);
        notifier.notify();
        witness.recv().await.unwrap();
        proxy.black_hole(false);
        tokio::time::timeout(LIMIT, wakeup.wait()).await.expect("it notices, and hints may have been missed");
        notifier.notify();
        tokio::time::timeout(LIMIT, wakeup.wait()).await.expect("it listens again");
    });
}
