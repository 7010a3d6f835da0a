use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::Config};
use async_trait::async_trait;
use bytes::Bytes;
use outbox_conformance::servers::Server;
use outbox_conformance::tls::TlsAddress;
use outbox_conformance::transport_suite::{BrokerProcess, Received, TransportFixture};
use outbox_core::Transport;
use outbox_nats::{NatsConfig, NatsTransport};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

/// A stream of its own on the shared server, or a server of its own.
pub(crate) struct NatsFixture {
    url: String,
    name: String,
    transport: Arc<NatsTransport>,
    server: Option<Server>,
}

pub(crate) fn shared_url() -> String {
    std::env::var("OUTBOX_TEST_NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned())
}

pub(crate) fn at(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// Freezes a server, and returns when it stands still: the signal takes its time on a busy machine.
pub(crate) async fn freeze(server: &Server) {
    server.freeze().await;
    let greets = async || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).await.unwrap();
        stream.read_u8().await
    };
    while timeout(Duration::from_millis(200), greets()).await.is_ok() {}
}

/// A name that nobody else uses, for streams and the first part of subjects.
pub(crate) fn unique() -> String {
    format!("outbox_test_{}", Uuid::now_v7().simple())
}

/// A client of its own each time: the server may have been killed since.
pub(crate) async fn client(url: &str) -> Option<jetstream::Context> {
    let client = async_nats::connect(url).await.ok()?;
    Some(jetstream::new(client))
}

pub(crate) async fn create_stream(jetstream: &jetstream::Context, name: &str) {
    let config = Config { name: name.to_owned(), subjects: vec![format!("{name}.>")], ..Config::default() };
    jetstream.create_stream(config).await.unwrap();
}

/// Everything that the stream has on a subject, read message by message through the stream's own interface.
pub(crate) async fn read_stream(
    jetstream: &jetstream::Context,
    stream: &str,
    subject: &str,
) -> Vec<Received> {
    let stream = jetstream.get_stream(stream).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut found = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        if *message.subject == *subject {
            found.push(received(&message.headers, message.payload));
        }
    }
    found
}

/// Reads the headers as the documentation of the crate describes them, without the crate.
fn received(headers: &HeaderMap, payload: Bytes) -> Received {
    let verbatim: BTreeMap<String, String> = headers
        .get("outbox-verbatim")
        .map(|json| serde_json::from_str(json.as_str()).unwrap())
        .unwrap_or_default();
    let all: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, values)| {
            assert_eq!(values.len(), 1, "{name} is there twice");
            let name = name.to_string();
            let value = verbatim.get(&name).cloned().unwrap_or_else(|| values[0].to_string());
            (name, value)
        })
        .collect();
    let one = |name: &str| all.get(name).cloned();
    assert_eq!(one("Nats-Msg-Id"), one("ce-id"));
    assert_eq!(one("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(one("ce-source").as_deref(), Some("outbox"));
    let ours = |name: &str| {
        ["ce-", "outbox-", "Nats-", "content-type"].iter().any(|prefix| name.starts_with(prefix))
    };
    Received {
        id: one("Nats-Msg-Id").unwrap(),
        key: one("outbox-key"),
        event_type: one("ce-type").unwrap(),
        schema_version: one("outbox-schema-version").unwrap().parse().unwrap(),
        aggregate_type: one("outbox-aggregate-type"),
        aggregate_id: one("ce-subject"),
        correlation_id: one("ce-correlationid"),
        content_type: one("content-type").unwrap(),
        headers: all.iter().filter(|(name, _)| !ours(name)).map(|(n, v)| (n.clone(), v.clone())).collect(),
        payload,
    }
}

impl NatsFixture {
    async fn at(url: String, server: Option<Server>, parameters: &str) -> Option<Self> {
        let (jetstream, name) = (client(&url).await?, unique());
        create_stream(&jetstream, &name).await;
        let url_of_transport = format!("{url}?stream={name}{parameters}");
        let transport = Arc::new(NatsTransport::connect(&url_of_transport).await.unwrap());
        Some(Self { url, name, transport, server })
    }

    fn missing(&self) -> String {
        format!("{}_missing", self.name)
    }
}

#[async_trait]
impl TransportFixture for NatsFixture {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_url(), None, "").await
    }

    async fn with_own_broker() -> Option<Self> {
        let server = Server::nats(None).await?;
        Self::at(at(server.port()), Some(server), "&publish_timeout=2s").await
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        let stream = topic.split('.').next().unwrap();
        read_stream(&client(&self.url).await.unwrap(), stream, topic).await
    }

    fn unroutable_topic(&self) -> Option<String> {
        Some(format!("{}.topic", self.missing()))
    }

    async fn make_routable(&self, _topic: &str) {
        create_stream(&client(&self.url).await.unwrap(), &self.missing()).await;
    }

    fn oversized(&self) -> Option<usize> {
        // With the headers it is too much, without them it is not: the server counts both.
        Some(self.transport.capabilities().max_payload.expect("it was learned from the server"))
    }

    fn with_secret(secret: &str) -> Option<(Arc<dyn Transport>, Vec<String>)> {
        let mut texts = Vec::new();
        let url = format!("nats://user:{secret}@127.0.0.1:1,localhost:1?stream=S&connect_timeout=1s");
        let config: NatsConfig = url.parse().unwrap();
        let token: NatsConfig = format!("nats://{secret}@127.0.0.1:1").parse().unwrap();
        texts.push(format!("{config:?} {config:#?} {token:?}"));
        let wrong = format!("{url}&nonsense=1").parse::<NatsConfig>().unwrap_err();
        texts.push(format!("{wrong} {wrong:?}"));
        let transport = NatsTransport::new(config).unwrap();
        texts.push(format!("{transport:?} {transport:#?}"));
        Some((Arc::new(transport), texts))
    }

    async fn tls_backend(&self, _advertised: u16) -> Option<u16> {
        let address = self.url.rsplit(':').next().unwrap();
        Some(address.trim_end_matches('/').parse().unwrap())
    }

    fn over_tls(&self, address: &TlsAddress) -> Option<(Arc<dyn Transport>, String)> {
        let TlsAddress { host, port, .. } = address;
        let url = format!("nats://{host}:{port}?tls_first=true&{}", address.parameters());
        Some((Arc::new(NatsTransport::new(url.parse().unwrap()).unwrap()), self.topic("secret")))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.server.as_ref().map(|server| server as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.server.is_none()
            && let Some(jetstream) = client(&self.url).await
        {
            let _ = jetstream.delete_stream(&self.name).await;
            let _ = jetstream.delete_stream(self.missing()).await;
        }
    }
}
