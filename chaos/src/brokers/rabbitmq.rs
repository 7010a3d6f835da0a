use anyhow::{Context as _, Result};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use outbox_conformance::servers::Server;

use super::{Broker, REDELIVER_AFTER, TOPICS};
use crate::actors::{CONSUMER, VERSION};
use crate::check::history::Received;

const EXCHANGE: &str = "chaos";
/// Has a copy of everything, for the reader.
const READER: &str = "chaos.reader";

pub(super) struct Rabbitmq {
    server: Server,
}

impl Rabbitmq {
    /// Its queues are there before it is restarted in order: queues that were declared a moment ago may be lost by a kill,
    /// with everything that was confirmed, and not for a reason that is ours.
    pub(super) async fn start() -> Result<Self> {
        let server = Server::rabbitmq().await.context("RabbitMQ is not installed")?;
        let node = Self { server };
        let (connection, channel) = node.client().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(READER.into(), durable, FieldTable::default()).await?;
        for topic in TOPICS {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(READER.into(), EXCHANGE.into(), topic.into(), options, FieldTable::default())
                .await?;
        }
        connection.close(200, "done".into()).await?;
        let mut subscription = outbox::connect_subscription(&node.subscription(node.server.port())).await?;
        subscription.check().await?;
        subscription.close(std::time::Duration::from_secs(5)).await?;
        node.server.restart().await;
        Ok(node)
    }

    async fn client(&self) -> lapin::Result<(Connection, Channel)> {
        let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.server.port());
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    async fn count(&self, channel: &Channel, queue: &str) -> Result<usize> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
        Ok(usize::try_from(queue.message_count())?)
    }
}

#[async_trait]
impl Broker for Rabbitmq {
    fn server(&self) -> &Server {
        &self.server
    }

    async fn prepare(&self) -> Result<()> {
        let (connection, channel) = self.client().await?;
        for queue in [READER, CONSUMER, &format!("{CONSUMER}.dead")] {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        }
        connection.close(200, "done".into()).await?;
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok((connection, channel)) = self.client().await else { return false };
        let ready =
            self.count(&channel, READER).await.is_ok() && self.count(&channel, CONSUMER).await.is_ok();
        let _ = connection.close(200, "done".into()).await;
        ready
    }

    fn transport(&self, port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}/%2f?exchange={EXCHANGE}&publish_timeout=1500ms")
    }

    fn subscription(&self, port: u16) -> String {
        let (topics, redeliver) = (TOPICS.join(","), REDELIVER_AFTER.as_millis());
        format!(
            "amqp://guest:guest@127.0.0.1:{port}/%2f?exchange={EXCHANGE}&create=true&queue_type=classic\
             &queue={CONSUMER}&group={CONSUMER}&topics={topics}&redeliver_after={redeliver}ms"
        )
    }

    async fn read_all(&self) -> Result<Vec<Received>> {
        let (connection, channel) = self.client().await?;
        let stored = self.count(&channel, READER).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let mut reader =
            channel.basic_consume(READER.into(), "".into(), options, FieldTable::default()).await?;
        let mut all = Vec::with_capacity(stored);
        while all.len() < stored {
            let delivery = reader.next().await.context("the reader's queue ended")??;
            all.push(received(delivery));
        }
        connection.close(200, "done".into()).await?;
        Ok(all)
    }

    async fn dead_letters(&self) -> Result<usize> {
        let (connection, channel) = self.client().await?;
        let count = self.count(&channel, &format!("{CONSUMER}.dead")).await?;
        connection.close(200, "done".into()).await?;
        Ok(count)
    }
}

fn received(delivery: lapin::message::Delivery) -> Received {
    let topic = delivery.routing_key.to_string();
    let id = delivery.properties.message_id().as_ref().map_or("", ShortString::as_str).replace('-', "");
    let headers = delivery.properties.headers().clone().unwrap_or_default();
    let header = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    };
    Received {
        log: READER.to_owned(),
        id,
        topic,
        account: header("outbox-key"),
        version: header(VERSION).unwrap_or_default(),
        payload: delivery.data,
    }
}
