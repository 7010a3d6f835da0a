use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, context::ContextBuilder, stream::Config};
use async_trait::async_trait;
use outbox_core::{EnvelopeNames, KEY_HEADER, OutboxMessage, Transport};
use outbox_nats::NatsTransport;

use super::{Broker, Carried, unique, url};

pub(crate) struct Nats;

impl Nats {
    fn url() -> String {
        url("OUTBOX_TEST_NATS_URL", "nats://127.0.0.1:4222")
    }

    async fn context() -> Result<jetstream::Context> {
        // Our own window is what bounds it.
        Ok(ContextBuilder::new().max_ack_inflight(65_536).build(async_nats::connect(Self::url()).await?))
    }
}

#[async_trait]
impl Broker for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn topic(&self) -> Result<String> {
        let topic = unique();
        let config = Config { name: topic.clone(), subjects: vec![topic.clone()], ..Config::default() };
        Self::context().await?.create_stream(config).await?;
        Ok(topic)
    }

    async fn transport(&self, topic: &str, carried: Carried) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(
            NatsTransport::connect(&format!("{}?stream={topic}&{}", Self::url(), carried.parameter()))
                .await?,
        ))
    }

    async fn raw(
        &self,
        topic: &str,
        messages: &[OutboxMessage],
        window: usize,
        carried: Carried,
    ) -> Result<Duration> {
        let context = Self::context().await?;
        let publish = async |message: &OutboxMessage| {
            let id = message.id().to_string();
            let mut headers = HeaderMap::new();
            if carried == Carried::CloudEvents {
                for (name, value) in carried.headers(message, &EnvelopeNames::HYPHEN, &id) {
                    headers.insert(name, value);
                }
                headers.insert(KEY_HEADER, message.ordering_key().map_or("", |key| key.as_str()));
            }
            headers.insert(NATS_MESSAGE_ID, id);
            context.publish_with_headers(topic.to_owned(), headers, message.payload().clone()).await
        };
        let mut waiting = std::collections::VecDeque::with_capacity(window);
        let (first, messages) = messages.split_at(1);
        publish(&first[0]).await?.await?;
        let started = Instant::now();
        for message in messages {
            if waiting.len() == window
                && let Some(ack) = waiting.pop_front()
            {
                let _: jetstream::publish::PublishAck = std::future::IntoFuture::into_future(ack).await?;
            }
            waiting.push_back(publish(message).await?);
        }
        for ack in waiting {
            ack.await?;
        }
        Ok(started.elapsed())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        Self::context().await?.delete_stream(topic).await?;
        Ok(())
    }
}
