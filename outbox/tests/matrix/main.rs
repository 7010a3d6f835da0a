//! Who writes and who relays need not be the same ORM: every writer, with every store on the same database, to several
//! brokers. `cargo xtask matrix` runs it and shows the table.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

mod brokers;
mod mysql;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use outbox::relay::Relay;
use outbox::{MessageId, OutboxMessage, connect_transport};
use std::sync::Arc;

use brokers::Brokers;

/// Writes messages in a transaction of its own, to the database at a URL.
type Write = fn(String, Vec<OutboxMessage>) -> BoxFuture<'static, ()>;
/// Opens the store of the database at a URL.
type Open = fn(&str) -> Arc<dyn outbox::Store>;

/// One ORM on one database.
struct Orm {
    name: &'static str,
    write: Write,
    open: Open,
}

const MESSAGES: usize = 40;
const KEYS: usize = 4;

/// Every writer with every store, the brokers in turn.
async fn every_pair(database: &str, url: &str, orms: &[Orm]) {
    let Some(brokers) = Brokers::start().await else {
        return;
    };
    (orms[0].open)(url).migrate().await.unwrap();
    let mut lines = Vec::new();
    for (row, writer) in orms.iter().enumerate() {
        let mut cells = Vec::new();
        for (column, reader) in orms.iter().enumerate() {
            let broker = brokers.at(row + column);
            let topic = format!("matrix.{row}-{column}");
            let messages = messages(&topic);
            (writer.write)(url.to_owned(), messages.clone()).await;
            let transport = connect_transport(&broker.transport).await.unwrap();
            let relay = Relay::shared((reader.open)(url), transport).start().await.unwrap();
            let drained = tokio::time::timeout(Duration::from_secs(60), relay.drained()).await;
            drained.expect("it is drained in a minute").unwrap();
            let stats = relay.shutdown().await.unwrap();
            assert_eq!(
                usize::try_from(stats.delivered).unwrap(),
                MESSAGES,
                "{} by {}",
                writer.name,
                reader.name
            );
            let received = broker.receive(&topic, MESSAGES).await;
            assert_eq!(by_key(&received), by_key(&messages), "{} by {}", writer.name, reader.name);
            cells.push(format!("{:14}", broker.name));
        }
        lines.push(format!("{:14} {:14} {} -", database, writer.name, cells.join(" ")));
    }
    report(orms, &lines);
}

/// One table per database: rows write, columns relay, a cell is the broker it went to.
#[expect(clippy::print_stderr, reason = "the table is for whoever runs it")]
fn report(orms: &[Orm], lines: &[String]) {
    let names: Vec<_> = orms.iter().map(|orm| format!("{:14}", orm.name)).collect();
    eprintln!("{:14} {:14} {} inbox", "database", "written by", names.join(" "));
    for line in lines {
        eprintln!("{line}");
    }
}

/// The URL of another database on the same server. Not by the options of a driver, which add parameters of their own.
fn in_database(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(name);
    url.into()
}

fn messages(topic: &str) -> Vec<OutboxMessage> {
    let message = |number: usize| {
        let payload = serde_json::json!({ "number": number });
        let message = OutboxMessage::json(topic, &payload).unwrap();
        message.ordering_key(number % KEYS).header("tenant", "acme").build().unwrap()
    };
    (0..MESSAGES).map(message).collect()
}

/// What has an order is compared in its order.
fn by_key(messages: &[OutboxMessage]) -> BTreeMap<String, Vec<(MessageId, Vec<u8>)>> {
    let mut keys: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for message in messages {
        let key = message.ordering_key().unwrap().as_str().to_owned();
        keys.entry(key).or_default().push((*message.id(), message.payload().to_vec()));
    }
    keys
}
