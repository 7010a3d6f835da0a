//! The service as a process: orders by HTTP, events on its standard output, an end by SIGTERM.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use outbox::MessageId;
use outbox_conformance::started;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ordered_is_published_and_the_end_is_clean() {
    let Some(database) = started("postgres", Database::create().await) else {
        return;
    };
    let options = database.options();
    let case = tokio::spawn(async move {
        let (address, events, service) = tokio::task::spawn_blocking({
            let url = options.to_url_lossy().to_string();
            move || Service::start(&url)
        })
        .await
        .unwrap();
        orders_arrive(&address, events, service, options.connect().await.unwrap()).await;
    })
    .await;
    database.remove().await;
    case.unwrap();
}

async fn orders_arrive(address: &str, mut events: Events, mut service: Service, mut database: PgConnection) {
    for total in 1..=20 {
        let body = format!(r#"{{"customer": "c{}", "total": {total}}}"#, total % 3);
        let answer = post(address, &body);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
    assert!(post(address, "{}").starts_with("HTTP/1.1 422 "), "an order without a total is refused");

    let mut published: Vec<Value> = (0..20)
        .map(|_| {
            let event = events.next();
            assert_eq!(event["topic"], "orders.placed");
            let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
            assert_eq!(event["ordering_key"], payload["customer"]);
            payload
        })
        .collect();
    for customer in ["c0", "c1", "c2"] {
        let totals: Vec<_> = published
            .iter()
            .filter(|event| event["customer"] == customer)
            .map(|event| event["total"].as_i64().unwrap())
            .collect();
        assert!(totals.is_sorted() && totals.len() >= 6, "{customer}: {totals:?}");
    }
    // The table is the truth.
    let orders: Vec<(i64, String, i64)> =
        sqlx::query_as("SELECT id, customer, total FROM orders_axum.orders ORDER BY id")
            .fetch_all(&mut database)
            .await
            .unwrap();
    published.sort_by_key(|event| event["order"].as_i64());
    let events_as_rows: Vec<_> = published
        .iter()
        .map(|event| {
            let number = |field: &str| event[field].as_i64().unwrap();
            (number("order"), event["customer"].as_str().unwrap().to_owned(), number("total"))
        })
        .collect();
    assert_eq!(events_as_rows, orders);

    service.terminate();
    assert!(service.process.wait().unwrap().success(), "SIGTERM ends it with 0");
    assert_eq!(events.rest(), 0, "nothing is published twice");
    let held: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders_axum.outbox_shards WHERE owner IS NOT NULL")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(held, 0, "its shards are free for the next one");
    database.close().await.unwrap();
}

/// The service as a process of its own; it dies with the test.
struct Service {
    process: Child,
}

impl Service {
    /// Returns once it serves, at which address, and what it prints.
    fn start(url: &str) -> (String, Events, Self) {
        let mut process = Command::new(env!("CARGO_BIN_EXE_orders-axum"))
            .env("DATABASE_URL", url)
            .env("LISTEN", "127.0.0.1:0")
            .env("NO_COLOR", "1")
            .env_remove("OUTBOX_TRANSPORT_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = Events::of(process.stdout.take().unwrap());
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let service = Self { process };
        let address = address(&mut log);
        // A pipe that nobody empties would block the service.
        std::thread::spawn(move || log.for_each(drop));
        (address, events, service)
    }

    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address(log: &mut Lines<BufReader<ChildStderr>>) -> String {
    let mut seen = String::new();
    for line in log {
        let line = line.unwrap();
        if let Some((_, rest)) = line.split_once("serving at http://") {
            return rest.trim_end_matches("/orders").to_owned();
        }
        seen = format!("{seen}{line}\n");
    }
    panic!("the service has ended:\n{seen}");
}

/// What the service prints to standard output: an event per line.
struct Events(mpsc::Receiver<Value>);

impl Events {
    fn of(stdout: ChildStdout) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let event = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    fn next(&mut self) -> Value {
        self.0.recv_timeout(LIMIT).expect("an event arrives")
    }

    /// How many come until the service has ended.
    fn rest(self) -> usize {
        self.0.iter().count()
    }
}

/// The whole answer to a request.
fn post(address: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "POST /orders HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A database of its own.
struct Database {
    name: String,
    server: PgConnectOptions,
}

impl Database {
    /// `None` if there is no server.
    async fn create() -> Option<Self> {
        let url = std::env::var("OUTBOX_TEST_POSTGRES_URL");
        let url = url.as_deref().unwrap_or("postgres://postgres@127.0.0.1:5432/postgres");
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
        sqlx::raw_sql(create).execute(&mut server.connect().await.ok()?).await.unwrap();
        Some(Self { name, server })
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    async fn remove(self) {
        let drop = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        sqlx::raw_sql(drop).execute(&mut self.server.connect().await.unwrap()).await.unwrap();
    }
}
