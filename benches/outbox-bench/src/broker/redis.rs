use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use outbox_core::{EnvelopeNames, KEY_HEADER, OutboxMessage, Transport};
use outbox_redis::RedisTransport;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use super::{Broker, Carried, unique, url};

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

    async fn raw(
        &self,
        topic: &str,
        messages: &[OutboxMessage],
        window: usize,
        carried: Carried,
    ) -> Result<Duration> {
        let client = Self::client().await?;
        let batch = (window / 2).max(1);
        let call = |batch: Vec<OutboxMessage>| {
            let mut client = client.clone();
            async move {
                let mut pipeline = redis::pipe();
                for message in &batch {
                    let id = message.id().to_string();
                    let key = message.ordering_key().map_or("", |key| key.as_str());
                    pipeline.cmd("XADD").arg(topic).arg("*").arg(KEY_HEADER).arg(key);
                    for (name, value) in carried.headers(message, &EnvelopeNames::HYPHEN, &id) {
                        pipeline.arg(name).arg(value);
                    }
                    pipeline.arg("payload").arg(&message.payload()[..]);
                }
                let _: Vec<String> = pipeline.query_async(&mut client).await?;
                anyhow::Ok(())
            }
        };
        let (first, messages) = messages.split_at(1);
        call(first.to_vec()).await?;
        let started = Instant::now();
        let calls: Vec<_> = messages.chunks(batch).map(<[_]>::to_vec).map(call).collect();
        stream::iter(calls).buffered(2).try_collect::<Vec<()>>().await?;
        Ok(started.elapsed())
    }

    async fn remove(&self, topic: &str) -> Result<()> {
        let _: u64 = Self::client().await?.del(topic).await?;
        Ok(())
    }
}
