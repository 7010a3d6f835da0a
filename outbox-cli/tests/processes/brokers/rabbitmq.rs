use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties};
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::transport_suite::BrokerProcess as _;
use tokio::runtime::Runtime;

use super::{Broker, Received, TOPICS, runtime};

/// A RabbitMQ node with a quorum queue for each topic, and a plain client.
pub(crate) struct Rabbitmq {
    server: Server,
    runtime: Runtime,
}

impl Rabbitmq {
    /// `None`, with a printed line, if RabbitMQ is not installed.
    pub(crate) fn start() -> Option<Self> {
        let runtime = runtime();
        let server = started("RabbitMQ", runtime.block_on(Server::rabbitmq()))?;
        let node = Self { server, runtime };
        node.runtime.block_on(async {
            let (_connection, channel) = node.client().await;
            for topic in TOPICS {
                let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(topic.into(), durable, quorum()).await.unwrap();
            }
            // Or a kill would take the young queues along, and not for a reason that is ours.
            node.server.restart().await;
        });
        Some(node)
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.server.port())
    }

    async fn client(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }
}

impl Broker for Rabbitmq {
    fn name(&self) -> &'static str {
        "RabbitMQ"
    }

    fn transport(&self) -> String {
        self.url()
    }

    fn kill(&self) {
        self.runtime.block_on(self.server.kill());
    }

    fn restart(&self) {
        self.runtime.block_on(self.server.start());
    }

    fn stored(&self) -> u64 {
        self.runtime.block_on(async {
            let (_connection, channel) = self.client().await;
            let mut stored = 0;
            for topic in TOPICS {
                stored += u64::from(count(&channel, topic).await);
            }
            stored
        })
    }

    fn read_all(&self) -> Vec<Received> {
        self.runtime.block_on(async {
            let (connection, channel) = self.client().await;
            let mut all = Vec::new();
            for topic in TOPICS {
                let stored = count(&channel, topic).await as usize;
                // Read once, at the end: a queue gives no more than two thousand to one that acknowledges nothing.
                let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
                let mut consumer = channel
                    .basic_consume(topic.into(), "".into(), options, FieldTable::default())
                    .await
                    .unwrap();
                for _ in 0..stored {
                    let delivery = consumer.next().await.unwrap().unwrap();
                    all.push(received(topic, delivery));
                }
            }
            connection.close(200, "done".into()).await.unwrap();
            all
        })
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

async fn count(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

fn received(topic: &str, delivery: lapin::message::Delivery) -> Received {
    let id = delivery.properties.message_id().as_ref().map_or("", ShortString::as_str).replace('-', "");
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let key = match headers.inner().get("outbox-key") {
        Some(AMQPValue::LongString(key)) => String::from_utf8_lossy(key.as_bytes()).into_owned(),
        _ => String::new(),
    };
    Received { id, topic: topic.to_owned(), key, payload: delivery.data }
}
