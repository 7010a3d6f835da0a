//! The tables of the README say what the capabilities say. `OUTBOX_UPDATE_README=1` writes them.

use std::path::Path;
use std::time::Duration;

use outbox::amqp::AmqpTransport;
use outbox::kafka::KafkaTransport;
use outbox::memory::{MemoryStore, MemoryTransport};
use outbox::nats::NatsTransport;
use outbox::redis::RedisTransport;
use outbox::sqlx::{MySqlStore, PostgresStore, SqliteStore};
use outbox::{
    OutboxStore, StoreCapabilities, Subscription, SubscriptionCapabilities, Transport, TransportCapabilities,
};

const BEGIN: &str = "is_the_capabilities` -->\n";
const END: &str = "\n<!-- end of matrix -->";

fn store(capabilities: &StoreCapabilities, databases: &str, writers: &str) -> String {
    let StoreCapabilities { name, max_shards, .. } = capabilities;
    format!("| `{name}` | {databases} | up to {max_shards} | {writers} |")
}

fn transport(capabilities: &TransportCapabilities, broker: &str) -> String {
    let run = if capabilities.pipelined_order { "a run of messages" } else { "one message" };
    let dedup = match capabilities.dedup_window {
        Some(window) => format!("for {} min (the stream's window)", window.as_secs() / 60),
        None => "no".to_owned(),
    };
    let TransportCapabilities { name, max_in_flight, durability, .. } = capabilities;
    let durability = if durability.is_empty() { "nothing survives" } else { durability };
    format!("| `{name}` | {broker} | {run} | {max_in_flight} | {dedup} | {durability} |")
}

fn subscription(capabilities: &SubscriptionCapabilities, what: &str, redelivered: &str) -> String {
    let yes = |yes: bool, text: &'static str| if yes { text } else { "no" };
    let SubscriptionCapabilities { name, counts_deliveries, partitioned, fan_out, redeliver_after, .. } =
        capabilities;
    let counted = yes(*counts_deliveries, "yes");
    let shared = if *partitioned { "keys" } else { "messages" };
    let groups = if *fan_out { "gets every message" } else { "shares them with all others" };
    let after = match redeliver_after {
        Some(time) => format!("after {} s (`redeliver_after`)", time.as_secs()),
        None => redelivered.to_owned(),
    };
    format!("| `{name}` | {what} | {groups} | {shared} | {counted} | {after} |")
}

fn transports() -> Vec<String> {
    let kafka = KafkaTransport::new("kafka://localhost".parse().unwrap()).unwrap();
    let amqp = AmqpTransport::new("amqp://localhost".parse().unwrap()).unwrap();
    let nats = NatsTransport::new("nats://localhost".parse().unwrap()).unwrap();
    let redis = RedisTransport::new("redis://localhost".parse().unwrap()).unwrap();
    vec![
        "| transport | broker | one key under way | messages under way | drops second copies | so that confirmed messages survive |"
            .to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
        transport(&kafka.capabilities(), "Apache Kafka"),
        transport(&amqp.capabilities(), "RabbitMQ"),
        transport(&nats.capabilities(), "NATS JetStream"),
        transport(&redis.capabilities(), "Redis streams, lists"),
        transport(&MemoryTransport::new().capabilities(), "in the process"),
    ]
}

async fn subscriptions() -> Vec<String> {
    let capabilities = async |url: &str| {
        let opened: Box<dyn Subscription> = outbox::connect_subscription(url).await.unwrap();
        opened.capabilities()
    };
    let options = "group=g&topics=t&connect_timeout=1s";
    let of = async |url: &str| capabilities(&format!("{url}{options}")).await;
    let memory = MemoryTransport::new();
    let topics = [outbox::Topic::new("t").unwrap()];
    let memory = memory.subscription(outbox::SubscribeOptions::new("g", topics)).unwrap().capabilities();
    let gone = "when its connection is lost";
    vec![
        "| subscription | what is read | a group | its members share | counts deliveries | left by a member that vanished: comes again |"
            .to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
        subscription(&of("kafka://127.0.0.1:1?").await, "topics", gone),
        subscription(&of("amqp://127.0.0.1:1?exchange=e&").await, "queues bound to an exchange", gone),
        subscription(&of("amqp://127.0.0.1:1?").await, "one queue", gone),
        subscription(&of("nats://127.0.0.1:1?stream=S&").await, "a stream", gone),
        subscription(&of("redis://127.0.0.1:1?").await, "streams", gone),
        subscription(&of("redis://127.0.0.1:1?mode=list&").await, "lists", gone),
        subscription(&memory, "what is published from now on", "at once"),
    ]
}

#[tokio::test]
async fn the_readme_matrix_is_the_capabilities() {
    let postgres = PostgresStore::from_url("postgres://localhost/x").unwrap();
    let mysql = MySqlStore::from_url("mysql://localhost/x").unwrap();
    let sqlite = SqliteStore::from_url("sqlite://x.db").unwrap();
    let stores = vec![
        "| store | databases | shards | written by |".to_owned(),
        "|---|---|---|---|".to_owned(),
        store(&postgres.capabilities(), "PostgreSQL", "sqlx, diesel, diesel-async, sea-orm, plain SQL"),
        store(&mysql.capabilities(), "MySQL, MariaDB", "sqlx, diesel, diesel-async, sea-orm, plain SQL"),
        store(&sqlite.capabilities(), "SQLite", "sqlx, diesel, diesel-async, sea-orm, plain SQL"),
        store(&MemoryStore::new().capabilities(), "in the process", "tests, services without a database"),
    ];
    let subscriptions = tokio::time::timeout(Duration::from_secs(60), subscriptions()).await.unwrap();
    let expected = [stores, transports(), subscriptions].map(|lines| lines.join("\n")).join("\n\n");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the matrix begins");
    let (table, after) = rest.split_once(END).expect("the matrix ends");
    if std::env::var("OUTBOX_UPDATE_README").is_ok_and(|value| value == "1") {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, expected, "OUTBOX_UPDATE_README=1 writes it");
}
