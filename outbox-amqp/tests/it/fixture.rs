use std::sync::Arc;

use async_trait::async_trait;
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use outbox_amqp::{AmqpConfig, AmqpTransport};
use outbox_conformance::servers::Server;
use outbox_conformance::tls::TlsAddress;
use outbox_conformance::transport_suite::{BrokerProcess, Received, TransportFixture};
use outbox_core::Transport;
use uuid::Uuid;

/// An exchange of its own on the shared broker, or a broker of its own; with one queue for all of its topics.
pub(crate) struct AmqpFixture {
    url: String,
    name: String,
    transport: Arc<AmqpTransport>,
    server: Option<Server>,
}

pub(crate) fn shared_url() -> String {
    std::env::var("OUTBOX_TEST_AMQP_URL")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

pub(crate) fn url_of(server: &Server) -> String {
    format!("amqp://guest:guest@127.0.0.1:{}/%2f", server.port())
}

/// A name that nobody else uses.
pub(crate) fn unique() -> String {
    format!("outbox_test_{}", Uuid::now_v7().simple())
}

/// A client of its own each time: the broker may have been killed since.
pub(crate) async fn client(url: &str) -> Option<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.ok()?;
    let channel = connection.create_channel().await.ok()?;
    Some((connection, channel))
}

pub(crate) async fn exchange(channel: &Channel, name: &str) {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
}

/// A durable classic queue: unlike a quorum queue of RabbitMQ 3.10, one that was declared a moment ago survives a kill.
pub(crate) async fn queue(channel: &Channel, name: &str, arguments: FieldTable) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await.unwrap();
}

pub(crate) async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, arguments).await.unwrap();
}

/// Everything in a queue, which stays there.
pub(crate) async fn read_queue(url: &str, queue: &str) -> Vec<(String, Received)> {
    let (connection, channel) = client(url).await.unwrap();
    let mut found = Vec::new();
    while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
        let delivery = message.delivery;
        found.push((delivery.routing_key.to_string(), received(&delivery.properties, delivery.data)));
    }
    // What was not acknowledged is in the queue again, in its place, when the channel is closed.
    channel.close(200, "done".into()).await.unwrap();
    connection.close(200, "done".into()).await.unwrap();
    found
}

pub(crate) async fn delete(url: &str, exchanges: &[&str], queues: &[&str]) {
    let Some((_connection, channel)) = client(url).await else { return };
    for name in queues {
        let _ = channel.queue_delete((*name).into(), QueueDeleteOptions::default()).await;
    }
    for name in exchanges {
        let _ = channel.exchange_delete((*name).into(), ExchangeDeleteOptions::default()).await;
    }
}

/// Reads headers and properties as the documentation of the crate describes them, without the crate.
pub(crate) fn received(properties: &BasicProperties, payload: Vec<u8>) -> Received {
    let headers = properties.headers().clone().unwrap_or_default();
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let one = |name: &str| headers.inner().get(name).map(text);
    let short = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    assert_eq!(*properties.delivery_mode(), Some(2), "it would not survive a restart");
    assert_eq!(one("cloudEvents_specversion").as_deref(), Some("1.0"));
    assert_eq!(one("cloudEvents_source").as_deref(), Some("outbox"));
    assert_eq!(short(properties.message_id()), one("cloudEvents_id"));
    assert_eq!(short(properties.kind()), one("cloudEvents_type"));
    let ours = |name: &str| ["cloudEvents_", "outbox-"].iter().any(|prefix| name.starts_with(prefix));
    Received {
        id: one("cloudEvents_id").unwrap(),
        key: one("outbox-key"),
        event_type: one("cloudEvents_type").unwrap(),
        schema_version: one("outbox-schema-version").unwrap().parse().unwrap(),
        aggregate_type: one("outbox-aggregate-type"),
        aggregate_id: one("cloudEvents_subject"),
        correlation_id: one("cloudEvents_correlationid"),
        content_type: short(properties.content_type()).unwrap(),
        headers: headers
            .inner()
            .iter()
            // The broker's own are numbers: of deliveries, for example.
            .filter(|(name, value)| !ours(name.as_str()) && matches!(value, AMQPValue::LongString(_)))
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        payload: payload.into(),
    }
}

impl AmqpFixture {
    async fn at(url: String, server: Option<Server>, parameters: &str) -> Option<Self> {
        let name = unique();
        let (_connection, channel) = client(&url).await?;
        exchange(&channel, &name).await;
        queue(&channel, &name, FieldTable::default()).await;
        bind(&channel, &name, &name, &format!("{name}.#")).await;
        let transport = AmqpTransport::connect(&format!("{url}?exchange={name}{parameters}")).await.unwrap();
        Some(Self { url, name, transport: Arc::new(transport), server })
    }

    fn missing(&self) -> String {
        format!("{}_missing", self.name)
    }
}

#[async_trait]
impl TransportFixture for AmqpFixture {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_url(), None, "").await
    }

    async fn with_own_broker() -> Option<Self> {
        let server = Server::rabbitmq().await?;
        Self::at(url_of(&server), Some(server), "&publish_timeout=2s&connect_timeout=1s").await
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        let mut found = read_queue(&self.url, &self.name).await;
        if topic.starts_with(&self.missing())
            && let Some((_connection, channel)) = client(&self.url).await
        {
            // Whether it exists is what a case is about.
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            if channel.queue_declare(self.missing().into(), passive, FieldTable::default()).await.is_ok() {
                found.extend(read_queue(&self.url, &self.missing()).await);
            }
        }
        found.into_iter().filter(|(key, _)| key == topic).map(|(_, received)| received).collect()
    }

    fn unroutable_topic(&self) -> Option<String> {
        Some(format!("{}.topic", self.missing()))
    }

    async fn make_routable(&self, topic: &str) {
        let (_connection, channel) = client(&self.url).await.unwrap();
        queue(&channel, &self.missing(), FieldTable::default()).await;
        bind(&channel, &self.missing(), &self.name, topic).await;
    }

    fn with_secret(secret: &str) -> Option<(Arc<dyn Transport>, Vec<String>)> {
        let mut texts = Vec::new();
        let url = format!("amqp://user:{secret}@127.0.0.1:1,localhost:1/%2f?connect_timeout=1s");
        let config: AmqpConfig = url.parse().unwrap();
        texts.push(format!("{config:?} {config:#?}"));
        let wrong = format!("{url}&nonsense=1").parse::<AmqpConfig>().unwrap_err();
        texts.push(format!("{wrong} {wrong:?}"));
        let transport = AmqpTransport::new(config).unwrap();
        texts.push(format!("{transport:?} {transport:#?}"));
        Some((Arc::new(transport), texts))
    }

    async fn tls_backend(&self, _advertised: u16) -> Option<u16> {
        let (_, authority) = self.url.rsplit_once('@').unwrap();
        Some(authority.split(['/', ':']).nth(1).unwrap().parse().unwrap())
    }

    fn over_tls(&self, address: &TlsAddress) -> Option<(Arc<dyn Transport>, String)> {
        let TlsAddress { host, port, .. } = address;
        let (name, parameters) = (&self.name, address.parameters());
        let url =
            format!("amqp://guest:guest@{host}:{port}/%2f?exchange={name}&{parameters}&connect_timeout=3s");
        let transport = AmqpTransport::new(url.parse().unwrap()).unwrap();
        Some((Arc::new(transport), self.topic("tls")))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.server.as_ref().map(|server| server as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.server.is_none() {
            delete(&self.url, &[&self.name], &[&self.name, &self.missing()]).await;
        }
    }
}
