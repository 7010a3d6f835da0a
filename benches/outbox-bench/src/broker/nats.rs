use std::collections::VecDeque;
use std::future::IntoFuture as _;
use std::sync::Arc;

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::{self, stream::Config};
use async_trait::async_trait;
use outbox_core::{EnvelopeNames, KEY_HEADER, Transport};
use outbox_nats::NatsTransport;
use tokio::sync::mpsc;

use super::bare::{Bare, Page, Range, Record};
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

    async fn bare(&self, topic: &str, window: usize, carried: Carried) -> Result<Box<dyn Bare>> {
        Ok(Box::new(Client { context: Self::context().await?, topic: topic.to_owned(), window, carried }))
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        Self::context().await?.delete_stream(topic).await?;
        Ok(())
    }
}

struct Client {
    context: jetstream::Context,
    topic: String,
    window: usize,
    carried: Carried,
}

impl Client {
    async fn send(&self, record: Record) -> Result<PublishAckFuture> {
        let id = record.id.to_string();
        let time = record.time(self.carried);
        let mut headers = HeaderMap::new();
        if self.carried == Carried::CloudEvents {
            for (name, value) in record.headers(self.carried, &EnvelopeNames::HYPHEN, &id, &time) {
                headers.insert(name, value);
            }
            headers.insert(KEY_HEADER, record.key.as_str());
        }
        headers.insert(NATS_MESSAGE_ID, id);
        Ok(self.context.publish_with_headers(self.topic.clone(), headers, record.payload).await?)
    }
}

#[async_trait]
impl Bare for Client {
    async fn publish(
        &mut self,
        mut pages: mpsc::Receiver<Page>,
        done: mpsc::UnboundedSender<Range>,
    ) -> Result<()> {
        let mut waiting = VecDeque::with_capacity(self.window);
        while let Some(page) = pages.recv().await {
            let (records, awaited) = page.open(&done);
            for record in records {
                if waiting.len() == self.window
                    && let Some((ack, _awaited)) = waiting.pop_front()
                {
                    PublishAckFuture::into_future(ack).await?;
                }
                waiting.push_back((self.send(record).await?, Arc::clone(&awaited)));
            }
        }
        for (ack, _awaited) in waiting {
            ack.await?;
        }
        Ok(())
    }
}
