use async_trait::async_trait;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Connection, ConnectionProperties};
use outbox::MessageId;
use outbox_conformance::started;

use super::{Broker, DeadLetter, TOPIC};
use crate::worker::CONSUMER;

/// An exchange and quorum queues of a test's own on the shared broker: a node of its own takes long to start.
pub(crate) struct Rabbitmq {
    url: String,
    name: String,
}

pub(crate) async fn rabbitmq() -> Option<Rabbitmq> {
    let url = std::env::var("OUTBOX_TEST_AMQP_URL");
    let url = url.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned());
    let name = format!("outbox_test_{}", MessageId::new().as_uuid().simple());
    let broker = Rabbitmq { url, name };
    let there = broker.client().await.is_ok();
    started("RabbitMQ", there.then_some(broker))
}

impl Rabbitmq {
    async fn client(&self) -> lapin::Result<(Connection, Channel)> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    fn dead_queue(&self) -> String {
        format!("{}.dead", self.name)
    }
}

#[async_trait]
impl Broker for Rabbitmq {
    fn name(&self) -> &'static str {
        "RabbitMQ"
    }

    fn transport(&self) -> String {
        format!("{}?exchange={}&create=true", self.url, self.name)
    }

    fn subscription(&self) -> String {
        let Self { url, name } = self;
        let dead = self.dead_queue();
        format!(
            "{url}?exchange={name}&create=true&queue={name}&group={CONSUMER}&topics={TOPIC}&dead_letters={dead}"
        )
    }

    fn keeps_order_across_crashes(&self) -> bool {
        true
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let (connection, channel) = self.client().await.unwrap();
        let queue = self.dead_queue();
        let mut found = Vec::new();
        let get =
            async || channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await.unwrap();
        while let Some(message) = get().await {
            found.push(dead_letter(&message));
        }
        // What was not acknowledged is in the queue again when the channel is closed.
        channel.close(200, "done".into()).await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
        found
    }

    async fn cleanup(&self) {
        let Ok((_connection, channel)) = self.client().await else { return };
        for queue in [self.name.as_str(), &self.dead_queue()] {
            let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
        }
        let _ = channel.exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default()).await;
    }
}

fn dead_letter(message: &BasicGetMessage) -> DeadLetter {
    let headers = message.delivery.properties.headers().clone().unwrap_or_default();
    let header = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => String::new(),
    };
    DeadLetter {
        id: header("cloudEvents_id"),
        reason: header("outbox-dead-reason"),
        group: header("outbox-dead-group"),
        topic: header("outbox-dead-topic"),
        payload: message.delivery.data.clone(),
    }
}
