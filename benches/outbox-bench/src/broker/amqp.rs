use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use outbox_amqp::AmqpTransport;
use outbox_core::{EnvelopeNames, KEY_HEADER, OutboxMessage, Transport};

use super::{Broker, Carried, unique, url};

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

    async fn transport(&self, _topic: &str, carried: Carried) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(AmqpTransport::connect(&format!("{}?{}", Self::url(), carried.parameter())).await?))
    }

    async fn raw(
        &self,
        topic: &str,
        messages: &[OutboxMessage],
        window: usize,
        carried: Carried,
    ) -> Result<Duration> {
        let connection = Self::client().await?;
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channels.push(channel);
        }
        let window = (window / CHANNELS).max(1);
        let (first, messages) = messages.split_at(1);
        publish(&channels[0], topic, first, carried).await?;
        let started = Instant::now();
        let share = messages.len().div_ceil(CHANNELS);
        let each = channels.iter().zip(messages.chunks(share)).map(|(channel, messages)| async move {
            for window in messages.chunks(window) {
                publish(channel, topic, window, carried).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(each).await?;
        Ok(started.elapsed())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let channel = Self::client().await?.create_channel().await?;
        channel.queue_delete(topic.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }
}

/// A window, confirmed.
async fn publish(channel: &Channel, topic: &str, window: &[OutboxMessage], carried: Carried) -> Result<()> {
    let mut confirms = Vec::with_capacity(window.len());
    for message in window {
        let id = message.id().to_string();
        let mut headers = FieldTable::default();
        if carried == Carried::CloudEvents {
            for (name, value) in carried.headers(message, &EnvelopeNames::AMQP, &id) {
                headers.insert(name.into(), AMQPValue::LongString(value.into()));
            }
            let key = message.ordering_key().map_or("", |key| key.as_str());
            headers.insert(KEY_HEADER.into(), AMQPValue::LongString(key.into()));
        }
        let properties =
            BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2).with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let publish = channel.basic_publish("".into(), topic.into(), options, message.payload(), properties);
        confirms.push(publish.await?);
    }
    for confirm in confirms {
        ensure!(confirm.await?.is_ack(), "a message was not confirmed");
    }
    Ok(())
}
