use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use outbox_conformance::started;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::eventually::until;

/// Every topic of the tests begins with this.
pub(crate) const SUBJECTS: &str = "shop.>";
pub(crate) const STREAM: &str = "SHOP";

/// A `nats-server` of our own at a free port, whose streams outlive it, and a plain client.
pub(crate) struct Nats {
    port: u16,
    folder: TempDir,
    child: Option<Child>,
    runtime: Runtime,
}

/// A message as the stream has it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// The header by which JetStream itself knows a message.
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
}

impl Nats {
    /// `None`, with a printed line, if there is no `nats-server` here.
    pub(crate) fn start() -> Option<Self> {
        let installed = Command::new("nats-server").arg("-v").output().is_ok();
        started("NATS (nats-server)", installed.then_some(()))?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut server = Self { port, folder: tempfile::tempdir().unwrap(), child: None, runtime };
        server.restart();
        Some(server)
    }

    /// Starts it, with whatever streams are in its folder.
    pub(crate) fn restart(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"]).arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        // Its port opens before it has read its streams.
        until("nats-server and its JetStream answer", Duration::from_secs(30), || {
            self.runtime.block_on(async {
                let Ok(client) = async_nats::connect(self.url()).await else { return false };
                let mut streams = jetstream::new(client).stream_names();
                streams.next().await.is_none_or(|name| name.is_ok())
            })
        });
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What a relay is told about this server and a stream that exists.
    pub(crate) fn transport(&self) -> String {
        format!("{}?stream={STREAM}", self.url())
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

    /// How many messages the stream has.
    pub(crate) fn stored(&self) -> u64 {
        self.runtime.block_on(async {
            let stream = self.jetstream().await.get_stream(STREAM).await.unwrap();
            stream.cached_info().state.messages
        })
    }

    /// Everything the stream has, from its first message, in its order.
    pub(crate) fn read_all(&self) -> Vec<Received> {
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
                    received.push(Received::of(message.unwrap()));
                }
                assert!(received.len() > before, "the stream has {stored}, and gives {before}");
            }
            received
        })
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }
}

impl Received {
    fn of(message: jetstream::Message) -> Self {
        let header = |name| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map_or_else(String::new, |value| value.as_str().to_owned())
        };
        Self {
            id: header("Nats-Msg-Id").replace('-', ""),
            subject: message.subject.to_string(),
            key: header("outbox-key"),
            payload: message.payload.to_vec(),
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
