use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use outbox_conformance::servers::Server;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply};
use redis::{AsyncCommands as _, AsyncConnectionConfig};

use super::{Broker, BrokerKind, REDELIVER_AFTER, TOPICS};
use crate::actors::{CONSUMER, VERSION};
use crate::check::history::Received;

pub(super) struct Redis {
    server: Server,
}

impl Redis {
    pub(super) async fn start() -> Result<Self> {
        Ok(Self { server: Server::redis(&[]).await.context("redis-server is not installed")? })
    }

    async fn client(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.server.port()))?;
        // All that a topic has, from a machine that is made to suffer, takes longer than the half second of the client.
        let patient = Some(Duration::from_secs(20));
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(patient).set_response_timeout(patient);
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

#[async_trait]
impl Broker for Redis {
    fn server(&self) -> &Server {
        &self.server
    }

    /// What is to be refused meets a key that is no stream.
    async fn prepare(&self) -> Result<()> {
        let mut client = self.client().await?;
        let () = redis::cmd("FLUSHALL").query_async(&mut client).await?;
        let () = client.set(BrokerKind::Redis.refuses().0, "no stream").await?;
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut client) = self.client().await else { return false };
        let pong: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut client).await;
        pong.is_ok()
    }

    fn transport(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}?publish_timeout=1500ms")
    }

    fn subscription(&self, port: u16) -> String {
        let (topics, redeliver) = (TOPICS.join(","), REDELIVER_AFTER.as_millis());
        format!("redis://127.0.0.1:{port}?group={CONSUMER}&topics={topics}&redeliver_after={redeliver}ms")
    }

    async fn read_all(&self) -> Result<Vec<Received>> {
        let mut client = self.client().await?;
        let mut all = Vec::new();
        for topic in TOPICS {
            let entries: StreamRangeReply = client.xrange_all(topic).await?;
            all.extend(entries.ids.iter().map(|entry| received(topic, entry)));
        }
        Ok(all)
    }

    async fn dead_letters(&self) -> Result<usize> {
        Ok(self.client().await?.xlen(format!("{CONSUMER}.dead")).await?)
    }
}

fn received(topic: &str, entry: &StreamId) -> Received {
    let text = |field: &str| entry.get::<String>(field);
    Received {
        log: topic.to_owned(),
        id: text("ce-id").unwrap_or_default().replace('-', ""),
        topic: topic.to_owned(),
        account: text("outbox-key"),
        version: text(&format!("header.{VERSION}")).unwrap_or_default(),
        payload: entry.get("payload").unwrap_or_default(),
    }
}
