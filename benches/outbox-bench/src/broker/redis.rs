use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use outbox_core::{EnvelopeNames, KEY_HEADER, Transport};
use outbox_redis::RedisTransport;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bare::{Bare, Page, Range, Record};
use super::{Broker, Carried, unique, url};

/// Pipelines under way at once, which share the window.
const CALLS: usize = 2;

pub(crate) struct Redis;

impl Redis {
    fn url() -> String {
        url("OUTBOX_TEST_REDIS_URL", "redis://127.0.0.1:6379")
    }

    async fn client() -> Result<MultiplexedConnection> {
        Ok(redis::Client::open(Self::url())?.get_multiplexed_async_connection().await?)
    }
}

#[async_trait]
impl Broker for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn topic(&self) -> Result<String> {
        Ok(unique())
    }

    async fn transport(&self, _topic: &str, carried: Carried) -> Result<Arc<dyn Transport>> {
        Ok(Arc::new(RedisTransport::connect(&format!("{}?{}", Self::url(), carried.parameter())).await?))
    }

    async fn bare(&self, topic: &str, window: usize, carried: Carried) -> Result<Box<dyn Bare>> {
        let batch = (window / CALLS).max(1);
        Ok(Box::new(Client { connection: Self::client().await?, topic: topic.to_owned(), batch, carried }))
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let _: u64 = Self::client().await?.del(topic).await?;
        Ok(())
    }
}

struct Client {
    connection: MultiplexedConnection,
    topic: String,
    batch: usize,
    carried: Carried,
}

impl Client {
    fn call(&self, records: Vec<Record>) -> JoinHandle<Result<()>> {
        let (mut connection, topic, carried) = (self.connection.clone(), self.topic.clone(), self.carried);
        tokio::spawn(async move {
            let mut pipeline = redis::pipe();
            for record in &records {
                let id = record.id.to_string();
                let time = record.time(carried);
                pipeline.cmd("XADD").arg(&topic).arg("*").arg(KEY_HEADER).arg(&record.key);
                for (name, value) in record.headers(carried, &EnvelopeNames::HYPHEN, &id, &time) {
                    pipeline.arg(name).arg(value);
                }
                pipeline.arg("payload").arg(&record.payload[..]);
            }
            let _: Vec<String> = pipeline.query_async(&mut connection).await?;
            Ok(())
        })
    }
}

#[async_trait]
impl Bare for Client {
    async fn publish(
        &mut self,
        mut pages: mpsc::Receiver<Page>,
        done: mpsc::UnboundedSender<Range>,
    ) -> Result<()> {
        let mut calls = VecDeque::with_capacity(CALLS);
        while let Some(page) = pages.recv().await {
            let (mut records, awaited) = page.open(&done);
            while !records.is_empty() {
                let rest = records.split_off(self.batch.min(records.len()));
                if calls.len() == CALLS
                    && let Some((call, _awaited)) = calls.pop_front()
                {
                    call.await??;
                }
                calls.push_back((self.call(std::mem::replace(&mut records, rest)), Arc::clone(&awaited)));
            }
        }
        for (call, _awaited) in calls {
            call.await??;
        }
        Ok(())
    }
}
