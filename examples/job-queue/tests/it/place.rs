use std::time::Duration;

use job_queue::{Jobs, Resize, open, relay};
use outbox::relay::{RelayConfig, RelayHandle};
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use sqlx::SqlitePool;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The name of the list.
pub(crate) const LIST: &str = "shop.images.resize";

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database and a Redis of a test's own.
pub(crate) struct Place {
    pub(crate) redis: Server,
    pub(crate) pool: SqlitePool,
    pub(crate) jobs: Jobs,
    folder: TempDir,
}

impl Place {
    /// `None`, with a word about it, if there is no Redis here.
    pub(crate) async fn new() -> Option<Self> {
        let redis = started("redis-server", Server::redis(&[]).await)?;
        let folder = tempfile::tempdir().unwrap();
        let pool = open(&format!("sqlite:{}", folder.path().join("jobs.db").display())).await.unwrap();
        Some(Self { redis, jobs: Jobs::new(&pool), pool, folder })
    }

    pub(crate) fn store_url(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("jobs.db").display())
    }

    pub(crate) fn list_url(&self) -> String {
        format!("redis://127.0.0.1:{}?mode=list&prefix=shop.", self.redis.port())
    }

    pub(crate) fn runner_url(&self) -> String {
        // What an aborted runner had in its hands comes again after this time.
        format!("{}&group=runner&topics=images.resize&redeliver_after=1s", self.list_url())
    }

    pub(crate) async fn order(&self, count: usize) {
        for number in 0..count {
            self.jobs.order(&format!("{number}.png")).await.unwrap();
        }
    }

    pub(crate) async fn relay(&self) -> RelayHandle {
        relay(&self.pool, &self.list_url(), quick).await.unwrap()
    }

    /// A number that the database knows.
    pub(crate) async fn count(&self, sql: &'static str) -> u64 {
        let found: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap();
        u64::try_from(found).unwrap()
    }

    /// Messages that nobody has confirmed.
    pub(crate) async fn waiting(&self) -> u64 {
        self.count("SELECT (SELECT count(*) FROM outbox_messages) + (SELECT count(*) FROM outbox_deferred)")
            .await
    }

    /// A client that is not ours.
    pub(crate) async fn client(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.redis.port())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// The jobs in the list.
    pub(crate) async fn listed(&self) -> Vec<Resize> {
        let elements: Vec<Vec<u8>> = self.client().await.lrange(LIST, 0, -1).await.unwrap();
        let job = |element: &Vec<u8>| {
            outbox::redis::decode_element("images.resize", element).unwrap().decode().unwrap()
        };
        elements.iter().map(job).collect()
    }

    /// How many elements runners have in their hands.
    pub(crate) async fn in_hands(&self) -> u64 {
        let mut client = self.client().await;
        let hands: Vec<String> = client.keys(format!("{LIST}:processing:*")).await.unwrap();
        let mut count = 0;
        for key in hands {
            count += client.llen::<_, u64>(key).await.unwrap();
        }
        count
    }
}

/// Tries again within milliseconds.
fn quick(config: &mut RelayConfig) {
    config.breaker_first = Duration::from_millis(10);
    config.breaker_longest = Duration::from_millis(100);
    config.retry.schedule = vec![Duration::from_millis(50)];
}

pub(crate) async fn until<Fut: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Fut) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a relay has nothing left to do.
pub(crate) async fn drained(relay: &RelayHandle) {
    tokio::time::timeout(PATIENCE, relay.drained()).await.expect("something is not delivered").unwrap();
}
