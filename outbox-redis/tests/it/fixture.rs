use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::tls::TlsAddress;
use outbox_conformance::transport_suite::{BrokerProcess, Received, TransportFixture};
use outbox_core::Transport;
use outbox_redis::{RedisConfig, RedisTransport};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands as _, AsyncConnectionConfig};
use uuid::Uuid;

/// A prefix of its own on the shared server, or a server of its own.
pub(crate) struct Fixture<M> {
    pub(crate) url: String,
    pub(crate) prefix: String,
    transport: Arc<RedisTransport>,
    server: Option<Server>,
    mode: PhantomData<fn() -> M>,
}

/// What a topic is, and how a plain client reads it.
#[async_trait]
pub(crate) trait Mode: Send + Sync + 'static {
    const NAME: &'static str;

    async fn read(client: &mut MultiplexedConnection, key: &str) -> Vec<Received>;
}

pub(crate) struct Streams;
pub(crate) struct Lists;

#[async_trait]
impl Mode for Streams {
    const NAME: &'static str = "stream";

    async fn read(client: &mut MultiplexedConnection, key: &str) -> Vec<Received> {
        let found: StreamRangeReply = client.xrange_all(key).await.unwrap();
        found.ids.into_iter().map(|entry| entry_of(entry.map)).collect()
    }
}

#[async_trait]
impl Mode for Lists {
    const NAME: &'static str = "list";

    async fn read(client: &mut MultiplexedConnection, key: &str) -> Vec<Received> {
        let mut found: Vec<Vec<u8>> = client.lrange(key, 0, -1).await.unwrap();
        // Pushed on the left, taken from the right.
        found.reverse();
        found.iter().map(|element| element_of(element)).collect()
    }
}

/// Reads the fields as the documentation of the crate describes them, without the crate.
fn entry_of(fields: HashMap<String, redis::Value>) -> Received {
    let mut fields: BTreeMap<String, Vec<u8>> =
        fields.into_iter().map(|(name, value)| (name, redis::from_redis_value(value).unwrap())).collect();
    let payload = fields.remove("payload").unwrap();
    let all: BTreeMap<String, String> =
        fields.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect();
    let one = |name: &str| all.get(name).cloned();
    assert_eq!(one("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(one("ce-source").as_deref(), Some("outbox"));
    let user = all.iter().filter_map(|(name, value)| Some((name.strip_prefix("header.")?, value)));
    Received {
        id: one("ce-id").unwrap(),
        key: one("outbox-key"),
        event_type: one("ce-type").unwrap(),
        schema_version: one("outbox-schema-version").unwrap().parse().unwrap(),
        aggregate_type: one("outbox-aggregate-type"),
        aggregate_id: one("ce-subject"),
        correlation_id: one("ce-correlationid"),
        content_type: one("content-type").unwrap(),
        headers: user.map(|(name, value)| (name.to_owned(), value.clone())).collect(),
        payload: payload.into(),
    }
}

/// The same for an element of a list.
fn element_of(element: &[u8]) -> Received {
    let event: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_slice(element).unwrap();
    let one = |name: &str| event.get(name).map(|raw| serde_json::from_str::<String>(raw.get()).unwrap());
    assert_eq!(one("specversion").as_deref(), Some("1.0"));
    let payload = match event.get("data") {
        Some(raw) => raw.get().as_bytes().to_vec(),
        None => base64::engine::general_purpose::STANDARD.decode(one("data_base64").unwrap()).unwrap(),
    };
    Received {
        id: one("id").unwrap(),
        key: one("partitionkey"),
        event_type: one("type").unwrap(),
        schema_version: one("schemaversion").unwrap().parse().unwrap(),
        aggregate_type: one("aggregatetype"),
        aggregate_id: one("subject"),
        correlation_id: one("correlationid"),
        content_type: one("datacontenttype").unwrap(),
        headers: one("outboxheaders").map(|json| serde_json::from_str(&json).unwrap()).unwrap_or_default(),
        payload: payload.into(),
    }
}

pub(crate) fn shared_url() -> String {
    std::env::var("OUTBOX_TEST_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// A prefix that nobody else uses.
pub(crate) fn unique() -> String {
    format!("outbox_test_{}.", Uuid::now_v7().simple())
}

/// A client of its own each time: the server may have been killed since. On a busy machine the half second that the
/// client gives a server by default is short.
pub(crate) async fn client(url: &str) -> Option<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(10)))
        .set_response_timeout(Some(Duration::from_secs(20)));
    redis::Client::open(url).ok()?.get_multiplexed_async_connection_with_config(&config).await.ok()
}

/// A server of its own for each case here.
pub(crate) async fn on_a_server<Fut: Future<Output = ()>>(
    options: &[&str],
    case: impl FnOnce(Server, String) -> Fut,
) {
    if let Some(server) = started("redis-server", Server::redis(options).await) {
        let url = format!("redis://127.0.0.1:{}", server.port());
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, case(server, url)).await.expect("the case did not end in a minute");
    }
}

/// Sends a command as one would type it.
pub(crate) async fn order(client: &mut MultiplexedConnection, words: &str) -> redis::Value {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(client).await.unwrap()
}

/// Deletes what begins with the prefix.
pub(crate) async fn forget(url: &str, prefix: &str) {
    let Some(mut client) = client(url).await else { return };
    let keys: Vec<String> = client.keys(format!("{prefix}*")).await.unwrap();
    if !keys.is_empty() {
        let _: () = client.del(keys).await.unwrap();
    }
}

impl<M: Mode> Fixture<M> {
    pub(crate) async fn at(url: String, server: Option<Server>, parameters: &str) -> Option<Self> {
        client(&url).await?;
        let transport =
            RedisTransport::connect(&format!("{url}?mode={}{parameters}", M::NAME)).await.unwrap();
        Some(Self { url, prefix: unique(), transport: Arc::new(transport), server, mode: PhantomData })
    }

    pub(crate) async fn on_its_own(parameters: &str) -> Option<Self> {
        let server = Server::redis(&[]).await?;
        Self::at(format!("redis://127.0.0.1:{}", server.port()), Some(server), parameters).await
    }
}

#[async_trait]
impl<M: Mode> TransportFixture for Fixture<M> {
    const OWN_BROKER: bool = true;

    async fn new() -> Option<Self> {
        Self::at(shared_url(), None, "").await
    }

    async fn with_own_broker() -> Option<Self> {
        Self::on_its_own("&publish_timeout=2s&connect_timeout=1s").await
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn read_back(&self, topic: &str) -> Vec<Received> {
        M::read(&mut client(&self.url).await.unwrap(), topic).await
    }

    fn with_secret(secret: &str) -> Option<(Arc<dyn Transport>, Vec<String>)> {
        let mut texts = Vec::new();
        let url =
            format!("redis://user:{secret}@127.0.0.1:1,localhost:1?mode={}&connect_timeout=1s", M::NAME);
        let config: RedisConfig = url.parse().unwrap();
        texts.push(format!("{config:?} {config:#?}"));
        let wrong = format!("{url}&nonsense=1").parse::<RedisConfig>().unwrap_err();
        texts.push(format!("{wrong} {wrong:?}"));
        let transport = RedisTransport::new(config).unwrap();
        texts.push(format!("{transport:?} {transport:#?}"));
        Some((Arc::new(transport), texts))
    }

    async fn tls_backend(&self, _advertised: u16) -> Option<u16> {
        let (_, authority) = self.url.split_once("://").unwrap();
        Some(authority.rsplit_once(':').unwrap().1.split('/').next().unwrap().parse().unwrap())
    }

    fn over_tls(&self, address: &TlsAddress) -> Option<(Arc<dyn Transport>, String)> {
        let TlsAddress { host, port, .. } = address;
        let url =
            format!("redis://{host}:{port}?mode={}&{}&connect_timeout=2s", M::NAME, address.parameters());
        let transport = RedisTransport::new(url.parse().unwrap()).unwrap();
        Some((Arc::new(transport), self.topic("tls")))
    }

    fn broker(&self) -> Option<&dyn BrokerProcess> {
        self.server.as_ref().map(|server| server as &dyn BrokerProcess)
    }

    async fn cleanup(&self) {
        if self.server.is_none() {
            forget(&self.url, &self.prefix).await;
        }
    }
}
