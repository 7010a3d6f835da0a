use std::time::Duration;

use outbox_conformance::servers::Server;
use outbox_conformance::started;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands as _, Client};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::process::Process;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database and a broker of a test's own; the database is gone when this is dropped.
pub(crate) struct Place {
    redis: Server,
    pub(crate) pool: PgPool,
    name: String,
    server: Url,
}

impl Place {
    /// Runs a test there. A printed skip if a server is missing.
    pub(crate) fn visit(test: impl AsyncFnOnce(&Place)) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let Some(redis) = started("redis-server", Server::redis(&[]).await) else { return };
            let Some(place) = started("postgres", Self::new(redis).await) else { return };
            test(&place).await;
        });
    }

    async fn new(redis: Server) -> Option<Self> {
        let server = std::env::var("OUTBOX_TEST_POSTGRES_URL");
        let server = server.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
        let server: Url = server.parse().unwrap();
        let name = format!("outbox_test_{}", uuid::Uuid::now_v7().simple());
        let mut connection = PgConnection::connect(server.as_str()).await.ok()?;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        let mut place = Self { redis, pool: PgPool::connect_lazy(server.as_str()).unwrap(), name, server };
        place.pool = PgPool::connect_lazy(&place.database_url()).unwrap();
        Some(place)
    }

    fn database_url(&self) -> String {
        let mut url = self.server.clone();
        url.set_path(&self.name);
        url.into()
    }

    /// The platform with these variables, and no others that say something about an outbox.
    pub(crate) fn platform(&self, variables: &[(&str, &str)]) -> Process {
        let broker = format!("redis://127.0.0.1:{}", self.redis.port());
        let (store, settlement) =
            (self.database_url(), format!("{broker}?group=settlement&topics=deals.closed"));
        let here = [
            ("OUTBOX_STORE_URL", store.as_str()),
            ("OUTBOX_TRANSPORT_URL", &broker),
            ("SETTLEMENT_URL", &settlement),
        ];
        // Later ones win; an empty one counts as not set.
        Process::start(&[&here, variables].concat())
    }

    /// A number that the database knows.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Messages that are not published.
    pub(crate) async fn waiting(&self) -> i64 {
        let all = "SELECT (SELECT count(*) FROM outbox_messages) + (SELECT count(*) FROM outbox_deferred)";
        self.count(all).await
    }

    /// A client that is not ours.
    pub(crate) async fn broker(&self) -> MultiplexedConnection {
        let client = Client::open(format!("redis://127.0.0.1:{}", self.redis.port())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// What was published to a topic, in that order: the fields of the entries.
    pub(crate) async fn published(&self, topic: &str) -> Vec<Vec<(String, Vec<u8>)>> {
        let found: StreamRangeReply = self.broker().await.xrange_all(topic).await.unwrap();
        let fields = |entry: redis::streams::StreamId| {
            let field = |(name, value)| (name, redis::from_redis_value(value).unwrap());
            entry.map.into_iter().map(field).collect()
        };
        found.ids.into_iter().map(fields).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (server, remove) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // In a thread of its own: a runtime can't wait for another in its own.
        let removing = std::thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                let mut connection = PgConnection::connect(server.as_str()).await?;
                sqlx::raw_sql(AssertSqlSafe(remove)).execute(&mut connection).await
            })
        });
        let removed = removing.join().unwrap();
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}
