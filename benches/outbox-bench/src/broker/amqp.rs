use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, PublisherConfirm};
use outbox_amqp::AmqpTransport;
use outbox_core::{EnvelopeNames, KEY_HEADER, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bare::{Awaited, Bare, Page, Range, Record};
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

    async fn bare(&self, topic: &str, window: usize, carried: Carried) -> Result<Box<dyn Bare>> {
        let connection = Self::client().await?;
        let mut lanes = Vec::new();
        for _ in 0..CHANNELS {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let window = (window / CHANNELS).max(1);
            lanes.push(Lane { channel, topic: topic.to_owned(), window, carried });
        }
        Ok(Box::new(Client { lanes, _connection: connection }))
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let channel = Self::client().await?.create_channel().await?;
        channel.queue_delete(topic.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }
}

struct Client {
    lanes: Vec<Lane>,
    _connection: Connection,
}

/// A channel and its part of the window.
#[derive(Clone)]
struct Lane {
    channel: Channel,
    topic: String,
    window: usize,
    carried: Carried,
}

#[async_trait]
impl Bare for Client {
    async fn publish(
        &mut self,
        mut pages: mpsc::Receiver<Page>,
        done: mpsc::UnboundedSender<Range>,
    ) -> Result<()> {
        let mut ways = Vec::new();
        let mut working = JoinSet::new();
        for lane in &self.lanes {
            let (way, parts) = mpsc::channel(1);
            ways.push(way);
            working.spawn(lane.clone().publish(parts));
        }
        while let Some(page) = pages.recv().await {
            let (mut records, awaited) = page.open(&done);
            let share = records.len().div_ceil(CHANNELS);
            for way in &ways {
                let part = records.split_off(records.len().saturating_sub(share));
                // One that has ended has an error to tell.
                if way.send((part, Arc::clone(&awaited))).await.is_err() {
                    break;
                }
            }
        }
        drop(ways);
        while let Some(ended) = working.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Lane {
    async fn publish(self, mut parts: mpsc::Receiver<(Vec<Record>, Arc<Awaited>)>) -> Result<()> {
        let mut waiting: VecDeque<(PublisherConfirm, Arc<Awaited>)> = VecDeque::with_capacity(self.window);
        while let Some((records, awaited)) = parts.recv().await {
            for record in records {
                if waiting.len() == self.window
                    && let Some((confirm, _awaited)) = waiting.pop_front()
                {
                    ensure!(confirm.await?.is_ack(), "a message was not confirmed");
                }
                waiting.push_back((self.send(&record).await?, Arc::clone(&awaited)));
            }
        }
        for (confirm, _awaited) in waiting {
            ensure!(confirm.await?.is_ack(), "a message was not confirmed");
        }
        Ok(())
    }

    async fn send(&self, record: &Record) -> Result<PublisherConfirm> {
        let id = record.id.to_string();
        let time = record.time(self.carried);
        let mut headers = FieldTable::default();
        if self.carried == Carried::CloudEvents {
            for (name, value) in record.headers(self.carried, &EnvelopeNames::AMQP, &id, &time) {
                headers.insert(name.into(), AMQPValue::LongString(value.into()));
            }
            headers.insert(KEY_HEADER.into(), AMQPValue::LongString(record.key.as_str().into()));
        }
        let properties =
            BasicProperties::default().with_message_id(id.into()).with_delivery_mode(2).with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let topic = self.topic.as_str().into();
        Ok(self.channel.basic_publish("".into(), topic, options, &record.payload, properties).await?)
    }
}
