//! The tables of the README say what the capabilities say.

use outbox::memory::{MemoryStore, MemoryTransport};
use outbox::nats::{NatsConfig, NatsTransport};
use outbox::sqlx::{MySqlStore, PostgresStore, SqliteStore};
use outbox::{OutboxStore, StoreCapabilities, Transport, TransportCapabilities};

const README: &str = include_str!("../../../README.md");

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
    let TransportCapabilities { name, max_in_flight, .. } = capabilities;
    format!("| `{name}` | {broker} | {run} | {max_in_flight} | {dedup} |")
}

#[tokio::test]
async fn the_readme_matrix_is_the_capabilities() {
    let postgres = PostgresStore::from_url("postgres://localhost/x").unwrap();
    let mysql = MySqlStore::from_url("mysql://localhost/x").unwrap();
    let sqlite = SqliteStore::from_url("sqlite://x.db").unwrap();
    let nats = NatsTransport::new("nats://localhost".parse::<NatsConfig>().unwrap()).unwrap();
    let expected = [
        "| store | databases | shards | written by |".to_owned(),
        "|---|---|---|---|".to_owned(),
        store(&postgres.capabilities(), "PostgreSQL", "sqlx, plain SQL"),
        store(&mysql.capabilities(), "MySQL, MariaDB", "sqlx, plain SQL"),
        store(&sqlite.capabilities(), "SQLite", "sqlx, plain SQL"),
        store(&MemoryStore::new().capabilities(), "in the process", "tests, services without a database"),
        String::new(),
        "| transport | broker | one key under way | messages under way | drops second copies |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
        transport(&nats.capabilities(), "NATS JetStream"),
        transport(&MemoryTransport::new().capabilities(), "in the process"),
    ];
    let (_, rest) = README.split_once("is_the_capabilities` -->\n").expect("the matrix begins");
    let (table, _) = rest.split_once("\n<!-- end of matrix -->").expect("the matrix ends");
    assert_eq!(table, expected.join("\n"));
}
