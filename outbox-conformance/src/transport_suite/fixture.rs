use std::any::type_name;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{OrderingKey, OutboxMessage, Transport};

use crate::tls::TlsAddress;
use crate::{case_runtime, run_to_end, started};

/// What the transport suite needs to know about an adapter: how to reach an empty corner of a broker, and how to read
/// there what has arrived, without the adapter.
///
/// Every case gets a fixture of its own, so cases run at the same time and in any order.
#[async_trait]
pub trait TransportFixture: Send + Sync + Sized + 'static {
    /// Whether [`TransportFixture::with_own_broker`] is implemented.
    const OWN_BROKER: bool = false;

    /// A corner of a broker that nobody else uses, with a transport. `None` if the broker is not running here: a
    /// printed skip, or a failure where `OUTBOX_REQUIRE_SERVICES=1` is set.
    async fn new() -> Option<Self>;

    /// The same on a broker of its own, which the case may kill and freeze. `None` if it can't be started here.
    async fn with_own_broker() -> Option<Self> {
        None
    }

    /// The transport under test, the same at each call.
    fn transport(&self) -> Arc<dyn Transport>;

    /// The full name of a topic of this fixture that the broker takes. `name` is lower-case letters and underscores.
    fn topic(&self, name: &str) -> String;

    /// Everything that the broker has taken for the topic since the fixture was made, in the broker's order, as a plain
    /// client sees it. At the least what was confirmed before the call.
    async fn read_back(&self, topic: &str) -> Vec<Received>;

    /// A topic that the broker does not take before [`TransportFixture::make_routable`] was called; `None` for a broker
    /// that takes any.
    fn unroutable_topic(&self) -> Option<String> {
        None
    }

    /// Makes the broker take the topic.
    async fn make_routable(&self, topic: &str) {
        let _ = topic;
    }

    /// Bytes of payload that this broker refuses in one message, and that fit in memory; `None` if it takes any.
    fn oversized(&self) -> Option<usize> {
        None
    }

    /// A transport that logs in with this password at an address where nobody answers, and everything that it and its
    /// configuration print of themselves. `None` for a broker without passwords.
    fn with_secret(secret: &str) -> Option<(Arc<dyn Transport>, Vec<String>)> {
        let _ = secret;
        None
    }

    /// The port, on this machine, of a broker without encryption that believes to be reached at `localhost` on
    /// `advertised`: a proxy there adds the encryption. `None` for a broker without connections.
    async fn tls_backend(&self, advertised: u16) -> Option<u16> {
        let _ = advertised;
        None
    }

    /// A transport that requires TLS at this address, and the topic of [`TransportFixture::tls_backend`] that it can
    /// publish to.
    fn over_tls(&self, address: &TlsAddress) -> Option<(Arc<dyn Transport>, String)> {
        let _ = address;
        None
    }

    /// The process of [`TransportFixture::with_own_broker`].
    fn broker(&self) -> Option<&dyn BrokerProcess> {
        None
    }

    /// Removes what the fixture made. Called once, also after a failed case.
    async fn cleanup(&self) {}
}

/// A broker that a case may break. What it stored survives.
#[async_trait]
pub trait BrokerProcess: Send + Sync {
    /// Kills it without warning (`SIGKILL`), and returns when it is dead.
    async fn kill(&self);

    /// Starts it again at the same address, and returns when it takes messages.
    async fn start(&self);

    /// Stops its processor time (`SIGSTOP`): connections stay open, and nobody answers.
    async fn freeze(&self);

    /// Ends [`BrokerProcess::freeze`].
    async fn thaw(&self);
}

/// A message as a plain client of the broker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of a message")]
pub struct Received {
    pub id: String,
    pub key: Option<String>,
    pub event_type: String,
    pub schema_version: i32,
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<String>,
    pub correlation_id: Option<String>,
    pub content_type: String,
    /// The user's headers only.
    pub headers: BTreeMap<String, String>,
    pub payload: Bytes,
}

impl From<&OutboxMessage> for Received {
    fn from(message: &OutboxMessage) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let header = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            id: message.id().to_string(),
            key: owned(message.ordering_key().map(OrderingKey::as_str)),
            event_type: message.event_type().to_owned(),
            schema_version: message.schema_version(),
            aggregate_type: owned(message.aggregate_type()),
            aggregate_id: owned(message.aggregate_id()),
            correlation_id: owned(message.correlation_id()),
            content_type: message.content_type().to_owned(),
            headers: message.headers().iter().map(header).collect(),
            payload: message.payload().clone(),
        }
    }
}

/// Runs a case of the transport suite on a corner of the shared broker.
///
/// # Panics
///
/// With the case, or if it does not end.
pub fn run_transport_case<F, C, Fut>(case: C)
where
    F: TransportFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    case_runtime().block_on(async {
        if let Some(fixture) = started(type_name::<F>(), F::new().await) {
            run(fixture, case).await;
        }
    });
}

/// Runs a case of the transport suite on a broker of its own.
///
/// # Panics
///
/// With the case, or if it does not end.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn run_outage_case<F, C, Fut>(case: C)
where
    F: TransportFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    if !F::OWN_BROKER {
        eprintln!("skipped: {} has no broker that could be killed", type_name::<F>());
        return;
    }
    case_runtime().block_on(async {
        if let Some(fixture) = started(type_name::<F>(), F::with_own_broker().await) {
            run(fixture, case).await;
        }
    });
}

async fn run<F, C, Fut>(fixture: F, case: C)
where
    F: TransportFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let fixture = Arc::new(fixture);
    run_to_end(case(Arc::clone(&fixture)), fixture.cleanup()).await;
}
