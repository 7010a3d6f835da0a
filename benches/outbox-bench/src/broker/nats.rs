use std::sync::Arc;

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, context::ContextBuilder, stream::Config};
use async_trait::async_trait;
use outbox_core::{OutboxMessage, Transport};
use outbox_nats::NatsTransport;

use super::{Broker, unique, url};

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

    async fn transport(&self, topic: &str) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(NatsTransport::connect(&format!("{}?stream={topic}", Self::url())).await?))
    }

    async fn raw(&self, topic: &str, messages: &[OutboxMessage], window: usize) -> Result<()> {
        let context = Self::context().await?;
        let mut waiting = std::collections::VecDeque::with_capacity(window);
        for message in messages {
            if waiting.len() == window
                && let Some(ack) = waiting.pop_front()
            {
                let _: jetstream::publish::PublishAck = std::future::IntoFuture::into_future(ack).await?;
            }
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, message.id().to_string());
            waiting.push_back(
                context.publish_with_headers(topic.to_owned(), headers, message.payload().clone()).await?,
            );
        }
        for ack in waiting {
            ack.await?;
        }
        Ok(())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        Self::context().await?.delete_stream(topic).await?;
        Ok(())
    }
}
