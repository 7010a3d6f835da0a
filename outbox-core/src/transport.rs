use std::time::Duration;

use async_trait::async_trait;

use crate::{Finding, OutboxMessage, PublishError, Topic};

/// Hands messages to a broker, and says of each whether the broker has it.
///
/// # Contract
///
/// Between a transport and the relay.
///
/// * `Ok` for a message means that the broker confirmed it, as durably as it was configured. Nothing else is `Ok`: not
///   "written to the socket", not "queued in the client".
/// * One result per message, in the order of the batch. A panic or a missing result counts as unknown.
/// * A failed message does not fail its neighbours: each gets the result that is true for it.
/// * Every error has the right [`crate::PublishErrorKind`]; the relay decides by nothing else.
/// * After [`crate::PublishErrorKind::Unknown`] and [`Transport::reset`] the client no longer tries on its own: what it
///   still held back is dropped, so that it can't arrive after the relay has given the row to somebody else.
/// * With [`TransportCapabilities::pipelined_order`]: if a message fails, no later message of its key in the batch was
///   accepted.
/// * The message's id travels as the broker's message id, key and headers travel unchanged, payload byte for byte.
/// * No panic, whatever the message: what the broker's client can't carry is [`crate::PublishErrorKind::Rejected`].
///
/// # Cancel safety
///
/// No. A dropped `publish` leaves every message of the batch unknown; the relay calls [`Transport::reset`].
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// What differs between brokers, as data.
    fn capabilities(&self) -> TransportCapabilities;

    /// Publishes a batch and waits for the broker's confirmations. Called several times at once; never with two
    /// messages of one key in different calls.
    async fn publish(&self, batch: &[OutboxMessage]) -> Vec<Result<(), PublishError>>;

    /// Whether the broker can be reached and would take messages. Publishes nothing.
    async fn check(&self) -> Result<(), PublishError>;

    /// Everything about the broker that an operator should know: whether it is reachable, whether these topics have
    /// where to go, and which of its settings can lose messages. Publishes and changes nothing.
    ///
    /// The default knows no more than [`Transport::check`].
    async fn diagnose(&self, topics: &[Topic]) -> Vec<Finding> {
        let _ = topics;
        let name = self.capabilities().name;
        vec![match self.check().await {
            Ok(()) => Finding::ok(name, "reachable"),
            Err(error) => Finding::error(name, error.to_string(), "start the broker, or correct its URL"),
        }]
    }

    /// Forgets whatever the client still holds back after an unknown outcome, at the latest before the next publish.
    async fn reset(&self) {}

    /// Sends what is under way, at most for `timeout`, and closes the connection. Nothing can be published afterwards.
    async fn close(&self, timeout: Duration) -> Result<(), PublishError>;
}

/// What differs between brokers. The relay, the test suites and the support matrix read this, and nothing branches on
/// a broker's name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportCapabilities {
    /// What to call it: `kafka`, `amqp`, `nats`, `redis`, `memory`.
    pub name: &'static str,
    /// A batch may have several messages of one key: if one fails, no later one of its key was accepted. Without this
    /// the relay has one message per key under way.
    pub pipelined_order: bool,
    /// Messages in one call at most.
    pub max_batch: usize,
    /// Messages under way at most, over all calls.
    pub max_in_flight: usize,
    /// Bytes of payload at most, if the broker has told.
    pub max_payload: Option<usize>,
    /// For how long the broker drops a second copy by message id; `None` if it does not.
    pub dedup_window: Option<Duration>,
    /// How long a call lasts at most before the client itself gives up with an unknown outcome.
    pub max_send_time: Duration,
    /// What the broker must be told so that what it confirmed survives, in the words of its own configuration; empty if
    /// nothing survives or nothing is needed.
    pub durability: &'static str,
}

impl TransportCapabilities {
    /// A broker that promises nothing special: one message per key under way, batches of 256, two at once, 5 s.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            pipelined_order: false,
            max_batch: 256,
            max_in_flight: 512,
            max_payload: None,
            dedup_window: None,
            max_send_time: Duration::from_secs(5),
            durability: "",
        }
    }

    /// Sets [`TransportCapabilities::pipelined_order`].
    #[must_use]
    pub const fn pipelined_order(mut self, promised: bool) -> Self {
        self.pipelined_order = promised;
        self
    }

    /// Sets [`TransportCapabilities::max_batch`], at least 1.
    #[must_use]
    pub const fn max_batch(mut self, messages: usize) -> Self {
        self.max_batch = if messages == 0 { 1 } else { messages };
        self
    }

    /// Sets [`TransportCapabilities::max_in_flight`], at least 1.
    #[must_use]
    pub const fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = if messages == 0 { 1 } else { messages };
        self
    }

    /// Sets [`TransportCapabilities::max_payload`].
    #[must_use]
    pub const fn max_payload(mut self, bytes: Option<usize>) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets [`TransportCapabilities::dedup_window`].
    #[must_use]
    pub const fn dedup_window(mut self, window: Option<Duration>) -> Self {
        self.dedup_window = window;
        self
    }

    /// Sets [`TransportCapabilities::durability`].
    #[must_use]
    pub const fn durability(mut self, settings: &'static str) -> Self {
        self.durability = settings;
        self
    }

    /// Sets [`TransportCapabilities::max_send_time`].
    #[must_use]
    pub const fn max_send_time(mut self, time: Duration) -> Self {
        self.max_send_time = time;
        self
    }
}
