use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer, stream};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use outbox_conformance::servers::Server;

use super::{Broker, REDELIVER_AFTER, TOPICS};
use crate::actors::{CONSUMER, VERSION};
use crate::check::history::Received;

const STREAM: &str = "CHAOS";
const DEAD: &str = "CHAOS_DEAD";
const SUBJECTS: &str = "chaos.>";
/// Bytes of a message that the stream takes.
const SIZE: i32 = 6_000;

pub(super) struct Nats {
    server: Server,
}

impl Nats {
    pub(super) async fn start() -> Result<Self> {
        Ok(Self { server: Server::nats(None).await.context("nats-server is not installed")? })
    }

    async fn jetstream(&self) -> Result<jetstream::Context> {
        let client = async_nats::connect(format!("nats://127.0.0.1:{}", self.server.port())).await?;
        Ok(jetstream::new(client))
    }

    async fn messages(&self, stream: &str) -> Result<Vec<jetstream::Message>> {
        let stream = self.jetstream().await?.get_stream(stream).await?;
        let stored = usize::try_from(stream.cached_info().state.messages)?;
        let config = consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            deliver_policy: consumer::DeliverPolicy::All,
            ..consumer::pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let mut all = Vec::with_capacity(stored);
        while all.len() < stored {
            let some = consumer.fetch().max_messages(1_000).expires(Duration::from_secs(10));
            let mut some = some.messages().await?;
            let before = all.len();
            while let Some(message) = some.next().await {
                all.push(message.map_err(|error| anyhow::anyhow!("the reader of NATS: {error}"))?);
            }
            ensure!(all.len() > before, "the stream has {stored}, and gives {before}");
        }
        Ok(all)
    }
}

fn config(name: &str, subjects: String, size: i32) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subjects],
        max_message_size: size,
        duplicate_window: Duration::from_millis(100),
        ..stream::Config::default()
    }
}

#[async_trait]
impl Broker for Nats {
    fn server(&self) -> &Server {
        &self.server
    }

    /// It drops no second copy that comes later than a tenth of a second after the first, the shortest time a server takes:
    /// duplicates are to be seen.
    async fn prepare(&self) -> Result<()> {
        let jetstream = self.jetstream().await?;
        for (name, subjects, size) in
            [(STREAM, SUBJECTS.to_owned(), SIZE), (DEAD, format!("{CONSUMER}.dead"), -1)]
        {
            jetstream.create_stream(config(name, subjects, size)).await?;
        }
        Ok(())
    }

    /// Without its subjects the stream takes nothing, and what it has stays.
    async fn refuse(&self, refuses: bool) -> Result<()> {
        let subjects = if refuses { "chaos-refuses" } else { SUBJECTS };
        self.jetstream().await?.update_stream(config(STREAM, subjects.to_owned(), SIZE)).await?;
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let Ok(jetstream) = self.jetstream().await else { return false };
        jetstream.stream_names().next().await.is_none_or(|name| name.is_ok())
    }

    fn transport(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}?stream={STREAM}&publish_timeout=1500ms")
    }

    fn subscription(&self, port: u16) -> String {
        let (topics, redeliver) = (TOPICS.join(","), REDELIVER_AFTER.as_millis());
        format!(
            "nats://127.0.0.1:{port}?stream={STREAM}&create=true&group={CONSUMER}&topics={topics}\
             &redeliver_after={redeliver}ms"
        )
    }

    async fn read_all(&self) -> Result<Vec<Received>> {
        let of = |message: jetstream::Message| {
            let header = |name| {
                let value = message.headers.as_ref().and_then(|headers| headers.get(name));
                value.map(|value| value.as_str().to_owned())
            };
            Received {
                log: STREAM.to_owned(),
                id: header("Nats-Msg-Id").unwrap_or_default().replace('-', ""),
                topic: message.subject.to_string(),
                account: header("outbox-key"),
                version: header(VERSION).unwrap_or_default(),
                payload: message.payload.to_vec(),
            }
        };
        Ok(self.messages(STREAM).await?.into_iter().map(of).collect())
    }

    async fn dead_letters(&self) -> Result<usize> {
        Ok(self.messages(DEAD).await?.len())
    }
}
