use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::transaction_suite::DatabaseSql;
use outbox_conformance::{StoreFixture, run_case};
use outbox_core::{OutboxAdmin, OutboxStore, StoreErrorKind, Wakeup};
use outbox_sql::{Statement, TableNames, Value};
use outbox_sqlx::{Backend, PostgresNotifier, PostgresStore, PostgresWakeup};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, Postgres, Row};

use crate::explain;
use crate::fixture::{Fixture, TestDatabase};
use crate::inbox_plans;
use crate::writer::{ids, message};

type PostgresFixture = Fixture<Postgres>;

outbox_conformance::store_suite!(PostgresFixture);
outbox_conformance::transaction_suite!(PostgresFixture);
outbox_conformance::inbox_suite!(PostgresFixture);

mod writer {
    crate::writer::writer_cases! { super::PostgresFixture:
        a_message_shares_the_fate_of_its_transaction
        a_savepoint_takes_its_messages_along
        a_thousand_messages_in_one_call
        a_dropped_enqueue_leaves_nothing_open
        a_dropped_settle_leaves_nothing_open
        the_rest_of_a_large_result_is_let_go
    }
}

impl TestDatabase for Postgres {
    const SQL: &DatabaseSql = &DatabaseSql::POSTGRES;
    const AS_JSON: &str = "::json";

    async fn create(name: &str) -> Option<PgPool> {
        let mut server = server().await?;
        // `template0` has no sessions that a copy would have to wait for.
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await.unwrap();
        Some(PgPool::connect_lazy_with(options().database(name)))
    }

    async fn remove(name: &str) {
        let sql = format!("DROP DATABASE {name} WITH (FORCE)");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server().await.unwrap()).await.unwrap();
    }
}

fn options() -> PgConnectOptions {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    url.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres").parse().unwrap()
}

async fn server() -> Option<PgConnection> {
    options().connect().await.ok()
}

fn case<Fut>(case: impl FnOnce(Arc<PostgresFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<PostgresFixture, _, _>(case);
}

/// No plan of a claim sorts or reads the whole table.
#[test]
fn a_claim_walks_the_primary_key() {
    case(|fixture| async move {
        for plan in explain::claims(&fixture, "EXPLAIN ", "ANALYZE").await {
            assert!(plan.contains("Index Scan using"), "{plan}");
            assert!(
                !plan.contains("Sort") && !plan.contains("Seq Scan") && !plan.contains("Bitmap"),
                "{plan}"
            );
        }
    });
}

/// However many messages an inbox remembers, only those that are admitted or purged are looked at: also by a plan that was
/// made for any values.
#[test]
fn an_inbox_is_walked_by_its_indexes() {
    case(|fixture| async move {
        inbox_plans::fill(&fixture, 17, "gen_random_uuid()", "clock_timestamp() - interval '5000 s'").await;
        let relay = Postgres::DIALECT.session_settings();
        let times = [("inbox_messages", "processed_at"), ("inbox_attempts", "last_attempt_at")];
        for ((table, time), statement) in times.iter().zip(inbox_plans::purge::<Postgres>().await) {
            let plan = explained(&fixture, relay, &statement).await;
            assert!(plan.contains(&format!("Index Scan using {table}_consumer_{time}_idx")), "{plan}");
            assert!(plan.contains(&format!("({time} <")), "{plan}");
            assert!(plan.contains(&format!("Index Scan using {table}_pkey")), "{plan}");
            for costly in ["Filter", "Sort", "Seq Scan", "Hash", "Merge", "Bitmap"] {
                assert!(!plan.contains(costly), "{plan}");
            }
        }
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let settings = format!("SET plan_cache_mode = {mode}");
            let statements = inbox_plans::admit::<Postgres>().await;
            assert_eq!(statements.len(), 3, "one message, the look for it, a list");
            for statement in statements {
                let plan = explained(&fixture, &[&settings], &statement).await;
                assert!(plan.contains("inbox_messages_pkey"), "{plan}");
                assert!(!plan.contains("Seq Scan") && !plan.contains("Bitmap"), "{plan}");
            }
        }
    });
}

/// The plan of a statement on a connection with these settings, made as for a prepared one.
async fn explained(fixture: &PostgresFixture, settings: &[&str], statement: &Statement<'_>) -> String {
    let mut connection = fixture.pool.acquire().await.unwrap();
    for setting in settings {
        sqlx::raw_sql(AssertSqlSafe(*setting)).execute(&mut *connection).await.unwrap();
    }
    let values: Vec<String> = statement.values.iter().map(literal).collect();
    let prepare = format!("PREPARE explained AS {}", statement.sql);
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
    let explain = format!("EXPLAIN EXECUTE explained ({})", values.join(", "));
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

fn literal(value: &Value<'_>) -> String {
    match value {
        Value::I64(Some(number)) => number.to_string(),
        Value::Text(Some(text)) => format!("'{text}'"),
        Value::Uuid(Some(uuid)) => format!("'{uuid}'"),
        Value::UuidArray(uuids) => {
            let uuids: Vec<String> = uuids.iter().flatten().map(ToString::to_string).collect();
            format!("'{{{}}}'", uuids.join(", "))
        }
        other => panic!("{other:?} is not bound here"),
    }
}

/// A database whose default is another isolation level does not change that of the relay.
#[test]
fn the_relay_is_read_committed_whatever_the_default_is() {
    case(|fixture| async move {
        let alter = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', \
                     current_database()); END $$";
        sqlx::raw_sql(alter).execute(&fixture.pool).await.unwrap();
        let store = PostgresStore::new(&fixture.pool);
        assert_eq!(store.schema_check().await.unwrap(), []);
        let url = fixture.pool.connect_options();
        let level: String = sqlx::query_scalar("SELECT current_setting('transaction_isolation')")
            .fetch_one(&mut url.connect().await.unwrap())
            .await
            .unwrap();
        assert_eq!(level, "serializable", "others get the default");
    });
}

/// The planner settings of the relay are not seen by the user's connections.
#[test]
fn the_settings_of_the_relay_stay_in_the_relay() {
    case(|fixture| async move {
        fixture.store().check().await.unwrap();
        let user: String = sqlx::query_scalar("SHOW enable_sort").fetch_one(&fixture.pool).await.unwrap();
        assert_eq!(user, "on");
    });
}

/// An operation on a connection that was cut fails once; the next one opens another.
#[test]
fn a_cut_connection_is_replaced() {
    case(|fixture| async move {
        let store = fixture.store();
        assert!(store.is_empty().await.unwrap());
        let cut: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'outbox-relay'",
        )
        .fetch_one(&fixture.pool)
        .await
        .unwrap();
        assert!(cut >= 1, "the relay has connections of its own");
        assert_eq!(store.is_empty().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
        assert!(store.is_empty().await.unwrap());
    });
}

/// Nothing that an error or a store prints has the password, and an unreachable database says where it was looked for.
#[tokio::test]
async fn errors_say_where_and_never_how() {
    let secret = "hunter2canary";
    let url = format!("postgres://somebody:{secret}@127.0.0.1:1/shop");
    let error = PostgresStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("postgres database shop at 127.0.0.1:1"), "{error}");
    let store = PostgresStore::from_url(&url).unwrap();
    let invalid =
        PostgresStore::from_url(&format!("postgres://somebody:{secret}@host:99999/shop")).unwrap_err();
    assert_eq!(invalid.kind(), StoreErrorKind::Invalid);
    let later = store.check().await.unwrap_err();
    for text in [
        format!("{error} {error:?}"),
        format!("{store:?}"),
        format!("{invalid} {invalid:?}"),
        format!("{later:?}"),
    ] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// A store on a schema and with a prefix of its own works beside another in the same database.
#[test]
fn names_can_be_chosen() {
    case(|fixture| async move {
        sqlx::raw_sql("CREATE SCHEMA events").execute(&fixture.pool).await.unwrap();
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        let store = PostgresStore::with_names(&fixture.pool, names.clone());
        store.migrate().await.unwrap();
        let writer = outbox_sqlx::PostgresWriter::with_names(&names);
        let mut tx = fixture.pool.begin().await.unwrap();
        writer.enqueue(&mut tx, &message()).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!store.is_empty().await.unwrap());
        assert!(fixture.store().is_empty().await.unwrap());
    });
}

/// A notification wakes the relay; so does, once, a connection that was lost in between.
#[test]
fn a_notification_wakes() {
    case(|fixture| async move {
        let names = TableNames::default();
        let mut wakeup = PostgresWakeup::connect(&fixture.pool, &names).await.unwrap();
        let notifier = PostgresNotifier::new(&fixture.pool, &names);
        let limit = Duration::from_secs(20);
        for _ in 0..100 {
            notifier.notify();
        }
        tokio::time::timeout(limit, wakeup.wait()).await.expect("it is woken");

        let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
                   WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        let cut: i64 = sqlx::query_scalar(cut).fetch_one(&fixture.pool).await.unwrap();
        assert_eq!(cut, 1);
        tokio::time::timeout(limit, wakeup.wait()).await.expect("hints may have been missed");

        notifier.notify();
        tokio::time::timeout(limit, wakeup.wait()).await.expect("it listens again");
    });
}

/// A user's transaction that is rolled back or stays open has nothing to do with notifications: none is sent in it.
#[test]
fn a_writer_does_not_notify() {
    case(|fixture| async move {
        let mut wakeup = PostgresWakeup::connect(&fixture.pool, &TableNames::default()).await.unwrap();
        let sent = message();
        let mut tx = fixture.pool.begin().await.unwrap();
        fixture.writer.enqueue(&mut tx, &sent).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(fixture.fresh_ids().await, ids(&[sent]));
        // A notification of the transaction would come before this one, which is sent on purpose.
        sqlx::query("SELECT pg_notify($1, 'on purpose')")
            .bind(wakeup.channel())
            .execute(&fixture.pool)
            .await
            .unwrap();
        wakeup.wait().await;
        let more = tokio::time::timeout(Duration::from_millis(100), wakeup.wait()).await;
        assert!(more.is_err(), "there was one notification only");
    });
}

/// Directly connected, no pooler is found.
#[test]
fn a_direct_connection_is_no_pooler() {
    case(|fixture| async move {
        assert!(!fixture.store().detect_pooler().await.unwrap());
    });
}

/// Through a transaction pooler the wake-up refuses to start, and says why.
#[tokio::test]
#[ignore = "needs pgbouncer with pool_mode = transaction at OUTBOX_TEST_PGBOUNCER_URL, which no service task starts"]
async fn a_transaction_pooler_is_found() {
    let url = std::env::var("OUTBOX_TEST_PGBOUNCER_URL").expect("OUTBOX_TEST_PGBOUNCER_URL is set");
    let pool = PgPool::connect_lazy(&url).unwrap();
    assert!(PostgresStore::new(&pool).detect_pooler().await.unwrap());
    let error = PostgresWakeup::connect(&pool, &TableNames::default()).await.unwrap_err();
    assert!(matches!(error, outbox_sqlx::WakeupError::Pooler), "{error}");
}

/// What operations.md says that the relay's user needs: no right to the sequence.
#[test]
fn a_role_with_rights_to_the_tables_alone_can_relay() {
    case(|fixture| async move {
        let role = format!("outbox_test_{}", outbox_core::MessageId::new().as_uuid().simple());
        let run = async |sql: String| {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&fixture.pool).await.unwrap();
        };
        run(format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}")).await;
        run(format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")).await;
        let options = fixture.pool.connect_options().as_ref().clone().username(&role);
        let pool = PgPool::connect_lazy_with(options);
        let store = PostgresStore::new(&pool);
        store.check().await.unwrap();
        assert_eq!(store.mark_late_commits().await.unwrap().seq, 0, "nothing was read");

        let mut transaction = pool.begin().await.unwrap();
        fixture.writer.enqueue(&mut transaction, &message()).await.unwrap();
        transaction.commit().await.unwrap();
        let relay = outbox_core::RelayId::new();
        let ttl = Duration::from_secs(60);
        let request = outbox_core::LeaseRequest { relay, ttl, label: "least".to_owned() };
        store.renew(&request).await.unwrap();
        let leases = store.acquire(&request, 64).await.unwrap();
        let source = outbox_core::ClaimSource::Fresh { after: 0 };
        let scope = fixture.scope.clone();
        let claim = outbox_core::ClaimRequest { scope, source, limit: 10, max_bytes: 1 << 20 };
        let rows = store.claim(&claim).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
        let mark = store.mark_late_commits().await.unwrap();
        assert_eq!(mark.seq, rows[0].seq, "as far as was read");
        assert!(store.late_commits_over(&mark).await.unwrap());
        let fence = outbox_core::Fence::new(relay, leases.iter().map(|lease| (lease.shard, lease.epoch)));
        let delivered = [(rows[0].row, outbox_core::Outcome::Delivered)];
        assert_eq!(store.settle(&fence, &delivered).await.unwrap().applied, 1);
        pool.close().await;
        drop(store);
        run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    });
}
