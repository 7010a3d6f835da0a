use std::any::type_name;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{OutboxMessage, SubscribeOptions, Subscription};

use crate::transport_suite::BrokerProcess;
use crate::{case_runtime, run_to_end, started};

/// What the subscription suite needs to know about an adapter: how to reach an empty topic, how to publish to it, and
/// how to read, without the adapter, what was given up.
///
/// Every case gets a fixture of its own, so cases run at the same time and in any order.
#[async_trait]
pub trait SubscriptionFixture: Send + Sync + Sized + 'static {
    /// Whether [`SubscriptionFixture::with_own_broker`] is implemented.
    const OWN_BROKER: bool = false;

    /// A corner of a broker that nobody else uses. `None` if the broker is not running here: a printed skip, or a
    /// failure where `OUTBOX_REQUIRE_SERVICES=1` is set.
    async fn new() -> Option<Self>;

    /// The same on a broker of its own, which the case may kill and freeze. `None` if it can't be started here.
    async fn with_own_broker() -> Option<Self> {
        None
    }

    /// The topic of this fixture, which exists and is empty.
    fn topic(&self) -> String;

    /// A topic that there is nothing to read from, in no group; `None` if reading makes it.
    fn missing_topic(&self) -> Option<String> {
        None
    }

    /// A member of a group, connected: what is published from now on is for this group too. Group and dead letters are
    /// made where the broker needs that. Names in the options are short and may be prefixed by the fixture, in the same
    /// way in each call.
    async fn subscribe(&self, options: SubscribeOptions) -> Box<dyn Subscription>;

    /// Publishes, and returns when the broker has confirmed all of them.
    async fn publish(&self, messages: &[OutboxMessage]);

    /// Publishes something to the topic that no outbox has written: a bare payload without any header.
    async fn publish_foreign(&self, payload: &'static [u8]);

    /// Everything in these dead letters, as a plain client of the broker sees it.
    async fn dead_letters(&self, options: &SubscribeOptions) -> Vec<GivenUp>;

    /// A subscription that logs in with this password at an address where nobody answers, and everything that it and
    /// its configuration print of themselves. `None` for a broker without passwords.
    fn with_secret(secret: &str) -> Option<(Box<dyn Subscription>, Vec<String>)> {
        let _ = secret;
        None
    }

    /// The process of [`SubscriptionFixture::with_own_broker`].
    fn broker(&self) -> Option<&dyn BrokerProcess> {
        None
    }

    /// Removes what the fixture made. Called once, also after a failed case.
    async fn cleanup(&self) {}
}

/// A dead letter as a plain client of the broker sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the headers of a dead letter")]
pub struct GivenUp {
    /// `None` if it was no message of an outbox.
    pub id: Option<String>,
    pub reason: String,
    pub group: String,
    pub topic: String,
    pub payload: Bytes,
}

/// Runs a case of the subscription suite on a corner of the shared broker.
///
/// # Panics
///
/// With the case, or if it does not end.
pub fn run_subscription_case<F, C, Fut>(case: C)
where
    F: SubscriptionFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    case_runtime().block_on(async {
        if let Some(fixture) = started(type_name::<F>(), F::new().await) {
            run(fixture, case).await;
        }
    });
}

/// Runs a case of the subscription suite on a broker of its own.
///
/// # Panics
///
/// With the case, or if it does not end.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn run_subscription_outage_case<F, C, Fut>(case: C)
where
    F: SubscriptionFixture,
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
    F: SubscriptionFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let fixture = Arc::new(fixture);
    run_to_end(case(Arc::clone(&fixture)), fixture.cleanup()).await;
}
