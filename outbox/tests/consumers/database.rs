use std::collections::BTreeMap;

use outbox::{MessageId, OutboxAdmin as _};
use outbox_conformance::started;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};

/// Nothing in these tables keeps an effect from happening twice. `calls` is written before the transaction of the
/// effects, and stays.
const TABLES: &str = "
    CREATE TABLE effects (place bigserial, number int NOT NULL, key text NOT NULL, worker int NOT NULL);
    CREATE TABLE totals (effects int NOT NULL);
    INSERT INTO totals VALUES (0);
    CREATE TABLE calls (place bigserial, number int NOT NULL, worker int NOT NULL);
    CREATE INDEX ON calls (number)";

/// A database of a test's own, with the tables of the outbox and those of a business.
pub(crate) struct Database {
    name: String,
    pub(crate) url: String,
    pool: PgPool,
}

fn server() -> String {
    let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
    url.unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned())
}

impl Database {
    /// `None`, with a printed line, if there is no server.
    pub(crate) async fn create() -> Option<Self> {
        let options: PgConnectOptions = server().parse().unwrap();
        let mut connection = started("PostgreSQL", options.connect().await.ok())?;
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        // Not by the options of the driver, which add parameters of their own.
        let mut url = url::Url::parse(&server()).unwrap();
        url.set_path(&name);
        let url = String::from(url);
        outbox::sqlx::PostgresStore::from_url(&url).unwrap().migrate().await.unwrap();
        let pool = PgPool::connect_lazy(&url).unwrap();
        sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
        Some(Self { name, url, pool })
    }

    pub(crate) async fn drop(&self) {
        self.pool.close().await;
        let options: PgConnectOptions = server().parse().unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut options.connect().await.unwrap()).await.unwrap();
    }

    /// How many effects there are, those that happened twice included.
    pub(crate) async fn count(&self) -> usize {
        self.number("SELECT count(*) FROM effects").await
    }

    /// How many effects one process had.
    pub(crate) async fn count_of(&self, worker: u32) -> usize {
        let worker = i32::try_from(worker).unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM effects WHERE worker = $1");
        usize::try_from(count.bind(worker).fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    /// How many processes had effects.
    pub(crate) async fn workers(&self) -> usize {
        self.number("SELECT count(DISTINCT worker) FROM effects").await
    }

    /// How often a handler was called for an order.
    pub(crate) async fn calls(&self, number: i32) -> usize {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM calls WHERE number = $1");
        usize::try_from(count.bind(number).fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    /// Tries that are still counted.
    pub(crate) async fn counted_tries(&self) -> usize {
        self.number("SELECT count(*) FROM inbox_attempts").await
    }

    async fn number(&self, sql: &'static str) -> usize {
        usize::try_from(sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    /// Each of these orders had its effect once, and no other had any.
    pub(crate) async fn has_each_once(&self, mut expected: Vec<i32>) {
        let sql = "SELECT number FROM effects ORDER BY number";
        let found: Vec<i32> = sqlx::query_scalar(sql).fetch_all(&self.pool).await.unwrap();
        expected.sort_unstable();
        assert_eq!(found, expected, "effects happen once each");
        let total: i32 =
            sqlx::query_scalar("SELECT effects FROM totals").fetch_one(&self.pool).await.unwrap();
        assert_eq!(usize::try_from(total).unwrap(), expected.len(), "and are counted with it");
    }

    /// The orders of each key, in the order of their effects.
    pub(crate) async fn by_key(&self) -> BTreeMap<String, Vec<i32>> {
        self.keys("SELECT key, number FROM effects WHERE $1::int IS NULL ORDER BY place", None).await
    }

    /// Those whose effects one process had.
    pub(crate) async fn by_key_of(&self, worker: u32) -> BTreeMap<String, Vec<i32>> {
        self.keys("SELECT key, number FROM effects WHERE worker = $1 ORDER BY place", Some(worker)).await
    }

    async fn keys(&self, sql: &'static str, worker: Option<u32>) -> BTreeMap<String, Vec<i32>> {
        let worker = worker.map(|worker| i32::try_from(worker).unwrap());
        let rows = sqlx::query_as::<_, (String, i32)>(sql).bind(worker).fetch_all(&self.pool).await.unwrap();
        let mut keys: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (key, number) in rows {
            keys.entry(key).or_default().push(number);
        }
        keys
    }
}
