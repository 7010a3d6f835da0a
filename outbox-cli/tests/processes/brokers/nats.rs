use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::transport_suite::BrokerProcess as _;
use tokio::runtime::Runtime;

use super::{Broker, Received, runtime};
use crate::eventually::until;

/// Every topic of the tests begins with this.
pub(crate) const SUBJECTS: &str = "shop.>";
pub(crate) const STREAM: &str = "SHOP";

/// A NATS server whose streams outlive it, and a plain client.
pub(crate) struct Nats {
    server: Server,
    runtime: Runtime,
}

impl Nats {
    /// `None`, with a printed line, if there is no `nats-server` here.
    pub(crate) fn start() -> Option<Self> {
        let runtime = runtime();
        let server = started("NATS (nats-server)", runtime.block_on(Server::nats(None)))?;
        let nats = Self { server, runtime };
        nats.has_read_its_streams();
        Some(nats)
    }

    /// Its port may open before it has.
    fn has_read_its_streams(&self) {
        until("nats-server and its JetStream answer", Duration::from_secs(30), || {
            self.runtime.block_on(async {
                let Ok(client) = async_nats::connect(self.url()).await else { return false };
                let mut streams = jetstream::new(client).stream_names();
                streams.next().await.is_none_or(|name| name.is_ok())
            })
        });
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.server.port())
    }

    /// Makes the stream. It drops no second copy that comes later than a tenth of a second after the first, the shortest
    /// time a server takes: duplicates are to be seen.
    pub(crate) fn create_stream(&self, change: impl FnOnce(&mut stream::Config)) {
        let mut config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![SUBJECTS.to_owned()],
            duplicate_window: Duration::from_millis(100),
            ..stream::Config::default()
        };
        change(&mut config);
        self.runtime.block_on(async { self.jetstream().await.create_stream(config).await.unwrap() });
    }

    pub(crate) fn update_stream(&self, change: impl FnOnce(&mut stream::Config)) {
        self.runtime.block_on(async {
            let jetstream = self.jetstream().await;
            let mut config = jetstream.get_stream(STREAM).await.unwrap().cached_info().config.clone();
            change(&mut config);
            jetstream.update_stream(config).await.unwrap();
        });
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }
}

impl Broker for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    /// What a relay is told about this server and a stream that exists.
    fn transport(&self) -> String {
        format!("{}?stream={STREAM}", self.url())
    }

    fn is_one_log(&self) -> bool {
        true
    }

    fn kill(&self) {
        self.runtime.block_on(self.server.kill());
    }

    fn restart(&self) {
        self.runtime.block_on(self.server.start());
        self.has_read_its_streams();
    }

    fn stored(&self) -> u64 {
        self.runtime.block_on(async {
            let stream = self.jetstream().await.get_stream(STREAM).await.unwrap();
            stream.cached_info().state.messages
        })
    }

    fn read_all(&self) -> Vec<Received> {
        self.runtime.block_on(async {
            let stream = self.jetstream().await.get_stream(STREAM).await.unwrap();
            let stored = usize::try_from(stream.cached_info().state.messages).unwrap();
            let config = consumer::pull::Config {
                ack_policy: consumer::AckPolicy::None,
                deliver_policy: consumer::DeliverPolicy::All,
                ..consumer::pull::Config::default()
            };
            let consumer = stream.create_consumer(config).await.unwrap();
            let mut received = Vec::with_capacity(stored);
            while received.len() < stored {
                let some = consumer.fetch().max_messages(1_000).expires(Duration::from_secs(10));
                let mut some = some.messages().await.unwrap();
                let before = received.len();
                while let Some(message) = some.next().await {
                    received.push(of(&message.unwrap()));
                }
                assert!(received.len() > before, "the stream has {stored}, and gives {before}");
            }
            received
        })
    }
}

fn of(message: &jetstream::Message) -> Received {
    let header = |name| {
        let value = message.headers.as_ref().and_then(|headers| headers.get(name));
        value.map_or_else(String::new, |value| value.as_str().to_owned())
    };
    Received {
        id: header("Nats-Msg-Id").replace('-', ""),
        topic: message.subject.to_string(),
        key: header("outbox-key"),
        payload: message.payload.to_vec(),
    }
}
