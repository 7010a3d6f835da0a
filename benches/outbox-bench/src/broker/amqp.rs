use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use outbox_amqp::AmqpTransport;
use outbox_core::{OutboxMessage, Transport};

use super::{Broker, unique, url};

/// Channels that work at the same time, as our transport has by default.
const CHANNELS: usize = 4;

pub(crate) struct Amqp;

impl Amqp {
    fn url() -> String {
        url("OUTBOX_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
    }

    async fn client() -> Result<Connection> {
        Ok(Connection::connect(&Self::url(), ConnectionProperties::default()).await?)
    }
}

#[async_trait]
impl Broker for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    async fn topic(&self) -> Result<String> {
        let topic = unique();
        let channel = Self::client().await?.create_channel().await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(topic.as_str().into(), durable, FieldTable::default()).await?;
        Ok(topic)
    }

    async fn transport(&self, _topic: &str) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(AmqpTransport::connect(&Self::url()).await?))
    }

    async fn raw(&self, topic: &str, messages: &[OutboxMessage], window: usize) -> Result<()> {
        let connection = Self::client().await?;
        let share = messages.len().div_ceil(CHANNELS);
        let each = messages.chunks(share).map(|messages| async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            for window in messages.chunks((window / CHANNELS).max(1)) {
                let mut confirms = Vec::with_capacity(window.len());
                for message in window {
                    let mut headers = FieldTable::default();
                    let key = message.ordering_key().map_or("", |key| key.as_str());
                    headers.insert("outbox-key".into(), AMQPValue::LongString(key.into()));
                    let properties = BasicProperties::default()
                        .with_message_id(message.id().to_string().into())
                        .with_delivery_mode(2)
                        .with_headers(headers);
                    let options = BasicPublishOptions { mandatory: true, immediate: false };
                    let publish = channel.basic_publish(
                        "".into(),
                        topic.into(),
                        options,
                        message.payload(),
                        properties,
                    );
                    confirms.push(publish.await?);
                }
                for confirm in confirms {
                    ensure!(confirm.await?.is_ack(), "a message was not confirmed");
                }
            }
            Ok(())
        });
        try_join_all(each).await?;
        Ok(())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let channel = Self::client().await?.create_channel().await?;
        channel.queue_delete(topic.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }
}
