use std::time::Duration;

use outbox::relay::RelayHandle;
use outbox::sql::TableNames;
use outbox::sqlx::{PostgresNotifier, PostgresWriter};
use outbox::{Config, MessageId, OutboxMessage, Severity, Store};
use outbox_conformance::{Pooler, started};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};

/// A database of its own, gone with [`Database::remove`].
struct Database {
    name: String,
    server: PgConnectOptions,
}

impl Database {
    async fn create() -> Option<Self> {
        let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
        let url = url.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let mut connection = server.connect().await.ok()?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        Some(Self { name, server })
    }

    fn url(&self) -> String {
        self.server.clone().database(&self.name).to_url_lossy().to_string()
    }

    fn pool(&self) -> PgPool {
        PgPoolOptions::new().connect_lazy_with(self.server.clone().database(&self.name))
    }

    async fn remove(self) {
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let mut server = self.server.connect().await.unwrap();
        sqlx::raw_sql(drop).execute(&mut server).await.unwrap();
    }
}

async fn write(pool: &PgPool) {
    let message = OutboxMessage::json("orders.placed", &7).unwrap().build().unwrap();
    let mut tx = pool.begin().await.unwrap();
    PostgresWriter::new().enqueue(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
}

/// Waits, and calls `hint` each time it looks.
async fn delivered(relay: &RelayHandle, count: u64, hint: impl Fn()) {
    let look = async {
        while relay.stats().delivered < count {
            hint();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(in_time.is_ok(), "{count} were not delivered: {:?}", relay.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_by_configuration_is_woken_by_another_process() {
    let Some(database) = started("postgres", Database::create().await) else {
        return;
    };
    let url = database.url();
    let pool = database.pool();
    let case = tokio::spawn(wakes_up(url, pool)).await;
    database.remove().await;
    case.unwrap();
}

async fn wakes_up(url: String, pool: PgPool) {
    // It never looks by itself: what arrives later than the first row arrives by notification.
    let config = Config::sources()
        .set("store.url", url)
        .set("transport.url", "memory:")
        .set("relay.poll.busy", "1h")
        .set("relay.poll.calm", "1h")
        .set("relay.poll.idle", "1h")
        .set("relay.backstop_interval", "1h")
        .load()
        .unwrap();
    let store: std::sync::Arc<dyn Store> = config.connect_store().await.unwrap();
    store.migrate().await.unwrap();
    write(&pool).await;

    let relay = config.relay().await.unwrap().start().await.unwrap();
    delivered(&relay, 1, || {}).await;

    let notifier = PostgresNotifier::new(&pool, &TableNames::default());
    for count in 2..5 {
        write(&pool).await;
        delivered(&relay, count, || notifier.notify()).await;
    }
    relay.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_does_not_relay_wakes_one_that_does() {
    let Some(database) = started("postgres", Database::create().await) else {
        return;
    };
    let (url, pool) = (database.url(), database.pool());
    let case = tokio::spawn(wakes_another(url, pool)).await;
    database.remove().await;
    case.unwrap();
}

async fn wakes_another(url: String, pool: PgPool) {
    // By hints alone, as above.
    let application = async |processor_enabled: &str| {
        let config = Config::sources()
            .set("store.url", &url)
            .set("transport.url", "memory:")
            .set("processor_enabled", processor_enabled)
            .set("relay.poll.busy", "1h")
            .set("relay.poll.calm", "1h")
            .set("relay.poll.idle", "1h")
            .set("relay.backstop_interval", "1h")
            .load()
            .unwrap();
        config.connect_store().await.unwrap().migrate().await.unwrap();
        config.start().await.unwrap()
    };
    let (writes, relays) = (application("false").await, application("true").await);
    let waker = writes.waker();
    for count in 1..5 {
        write(&pool).await;
        let look = async {
            while relays.stats().delivered < count {
                waker.wake();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), look).await;
        assert!(in_time.is_ok(), "{count} were not delivered: {:?}", relays.stats());
    }
    relays.shutdown().await.unwrap();
    let owned = "SELECT count(*) FROM outbox_shards WHERE owner IS NOT NULL";
    assert_eq!(
        sqlx::query_scalar::<_, i64>(owned).fetch_one(&pool).await.unwrap(),
        0,
        "they are free at once"
    );
    writes.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_whether_notifications_arrive() {
    let Some(database) = started("postgres", Database::create().await) else {
        return;
    };
    let case = tokio::spawn(notifications_are_found(database.url(), database.server.get_port())).await;
    database.remove().await;
    case.unwrap();
}

async fn notifications_are_found(url: String, port: u16) {
    let found = async |url: &str, listen: &str| {
        let config = Config::sources()
            .set("store.url", url)
            .set("transport.url", "memory:")
            .set("wakeups.listen", listen)
            .load()
            .unwrap();
        let [store, ..] = &config.diagnose(&[]).await[..] else { panic!("there is a store") };
        store.findings.iter().map(|finding| (finding.subject.clone(), finding.severity)).collect::<Vec<_>>()
    };
    let notifications = ("notifications".to_owned(), Severity::Ok);
    outbox::connect_store(&url).await.unwrap().migrate().await.unwrap();
    assert!(found(&url, "true").await.contains(&notifications));
    assert!(!found(&url, "false").await.contains(&notifications), "nobody would listen");

    let pooler = Pooler::to(port).await;
    let mut behind: PgConnectOptions = url.parse().unwrap();
    behind = behind.host("127.0.0.1").port(pooler.port());
    let behind = found(behind.to_url_lossy().as_str(), "true").await;
    assert_eq!(
        behind,
        [("database".to_owned(), Severity::Error)],
        "nothing works through a transaction pooler"
    );
}
