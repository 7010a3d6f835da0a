use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BrokerConfigError, DecodeError, OutboxMessage, SubscribeError, Topic, UrlParameter};

/// Receives messages from a broker, one at a time, and settles each of them with the broker.
///
/// # Contract
///
/// Between a subscription and a consumer.
///
/// * A message is handed out until it is settled: acknowledged, or given up to the dead letters. Whatever happens to
///   the process or to the broker in between, it comes again. At least once; an inbox drops what comes twice.
/// * What is not a message of an outbox is handed out too ([`Delivery::message`] is an error then): it must be settled
///   like any other, or nothing behind it would move.
/// * At most [`SubscriptionCapabilities::prefetch`] deliveries are unsettled at any time; [`Subscription::next`] waits
///   until one of them is settled.
/// * A delivery that is dropped unsettled is not settled: it comes again when the broker's time for it has run out,
///   or at the latest when the subscription is closed.
/// * A lost connection is repaired, with a pause between two attempts. [`Subscription::next`] says so once per attempt,
///   and may simply be called again. What was unsettled then comes again.
/// * The messages of a key come in the order of their publishing, as far as none of them was handed back and one
///   member reads them.
#[async_trait]
pub trait Subscription: Send + 'static {
    /// What differs between brokers, as data.
    fn capabilities(&self) -> SubscriptionCapabilities;

    /// The next delivery, as soon as there is one.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the broker can't be reached, or there is nothing to read from. The subscription stays
    /// usable: the next call tries again, after a pause of its own.
    ///
    /// # Cancel safety
    ///
    /// Yes: no delivery is lost by dropping the future.
    async fn next(&mut self) -> Result<Delivery, SubscribeError>;

    /// Whether the broker can be reached and there is something to read from. Receives nothing.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`].
    async fn check(&mut self) -> Result<(), SubscribeError>;

    /// Stops receiving, sends the settlements that are under way, at most for `timeout`, and hands everything unsettled
    /// back to the broker. Nothing can be received afterwards.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if not everything was finished in time.
    async fn close(&mut self, timeout: Duration) -> Result<(), SubscribeError>;
}

#[async_trait]
impl Subscription for Box<dyn Subscription> {
    fn capabilities(&self) -> SubscriptionCapabilities {
        (**self).capabilities()
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        (**self).next().await
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        (**self).check().await
    }

    async fn close(&mut self, timeout: Duration) -> Result<(), SubscribeError> {
        (**self).close(timeout).await
    }
}

/// What differs between brokers on the consuming side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionCapabilities {
    /// What to call it: `kafka`, `amqp`, `nats`, `redis`, `memory`.
    pub name: &'static str,
    /// [`Delivery::attempt`] counts, also across restarts of the consumer.
    pub counts_deliveries: bool,
    /// Several members of a group share the keys, so that each key keeps its order. Without this they share the
    /// messages.
    pub partitioned: bool,
    /// Each group gets every message. Without this all groups share them: a queue of jobs.
    pub fan_out: bool,
    /// After how long an unsettled delivery of a consumer that vanished without a word comes again; `None` if the
    /// broker notices by the connection.
    pub redeliver_after: Option<Duration>,
    /// Unsettled deliveries at most.
    pub prefetch: usize,
}

impl SubscriptionCapabilities {
    /// A broker that promises nothing special.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            counts_deliveries: false,
            partitioned: false,
            fan_out: true,
            redeliver_after: None,
            prefetch: 64,
        }
    }

    /// Sets [`SubscriptionCapabilities::counts_deliveries`].
    #[must_use]
    pub const fn counts_deliveries(mut self, counted: bool) -> Self {
        self.counts_deliveries = counted;
        self
    }

    /// Sets [`SubscriptionCapabilities::partitioned`].
    #[must_use]
    pub const fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Sets [`SubscriptionCapabilities::fan_out`].
    #[must_use]
    pub const fn fan_out(mut self, fan_out: bool) -> Self {
        self.fan_out = fan_out;
        self
    }

    /// Sets [`SubscriptionCapabilities::redeliver_after`].
    #[must_use]
    pub const fn redeliver_after(mut self, time: Option<Duration>) -> Self {
        self.redeliver_after = time;
        self
    }

    /// Sets [`SubscriptionCapabilities::prefetch`].
    #[must_use]
    pub const fn prefetch(mut self, deliveries: usize) -> Self {
        self.prefetch = deliveries;
        self
    }
}

/// A message that was received and is not settled yet.
#[must_use = "an unsettled delivery comes again"]
pub struct Delivery {
    message: Result<OutboxMessage, Undecodable>,
    attempt: Option<u32>,
    source: Option<DeliverySource>,
    receipt: Box<dyn Receipt>,
}

/// Where a delivery came from, with a broker that hands out parts of a log instead of counting deliveries.
///
/// What such a broker hands out again after a crash comes first with each new assignment of its partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliverySource {
    /// The topic.
    pub topic: std::sync::Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// Changes with each assignment of the partition to this member.
    pub assignment: u64,
}

impl Delivery {
    /// A delivery, made by a subscription.
    pub fn new(
        message: Result<OutboxMessage, Undecodable>,
        attempt: Option<u32>,
        receipt: Box<dyn Receipt>,
    ) -> Self {
        Self { message, attempt, source: None, receipt }
    }

    /// Says where it came from, as a subscription whose broker does not count deliveries does.
    pub fn from_source(mut self, source: DeliverySource) -> Self {
        self.source = Some(source);
        self
    }

    /// Where it came from; `None` if the broker has no partitions.
    #[must_use]
    pub const fn source(&self) -> Option<&DeliverySource> {
        self.source.as_ref()
    }

    /// The message and what settles it, for a consumer that works on the one while it keeps the other alive.
    pub fn into_parts(self) -> (Result<OutboxMessage, Undecodable>, Box<dyn Receipt>) {
        (self.message, self.receipt)
    }

    /// The message.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] if it is none of an outbox.
    pub const fn message(&self) -> Result<&OutboxMessage, &Undecodable> {
        self.message.as_ref()
    }

    /// How often it was handed out, this time included; `None` if the broker does not count.
    #[must_use]
    pub const fn attempt(&self) -> Option<u32> {
        self.attempt
    }

    /// Its effects are committed: it does not come again.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the broker may not know; then it may come again, and the inbox drops it.
    ///
    /// # Cancel safety
    ///
    /// No: afterwards nobody knows whether it is settled.
    pub async fn ack(self) -> Result<(), SubscribeError> {
        self.receipt.ack().await
    }

    /// It failed, and is to come again, not before `delay` has passed. Others are delivered meanwhile.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if the broker may not know; it comes again in any case.
    ///
    /// # Cancel safety
    ///
    /// Yes: it comes again, perhaps earlier.
    pub async fn nack(self, delay: Duration) -> Result<(), SubscribeError> {
        self.receipt.nack(delay).await
    }

    /// It is given up: it goes to the dead letters of the group, with this reason, and does not come again. It is there
    /// before it is gone here.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if it could not be written there; then it comes again.
    ///
    /// # Cancel safety
    ///
    /// No: it may be in both places.
    pub async fn dead_letter(self, reason: &str) -> Result<(), SubscribeError> {
        self.receipt.dead_letter(reason).await
    }

    /// Work on it takes longer: the broker's time for it starts anew.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if it is too late, or the broker may not know.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.receipt.extend().await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Something that a broker delivered and that is no message of an outbox.
#[derive(Debug)]
pub struct Undecodable {
    /// Where it came from.
    pub topic: String,
    /// Why.
    pub error: DecodeError,
    /// What it is.
    pub payload: Bytes,
}

/// The broker's side of a [`Delivery`]. An adapter implements it; everyone else uses the methods of the delivery.
#[async_trait]
pub trait Receipt: Send + Sync {
    /// [`Delivery::ack`].
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError>;

    /// [`Delivery::nack`].
    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError>;

    /// [`Delivery::dead_letter`].
    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError>;

    /// [`Delivery::extend`]. A broker without such a time has nothing to do.
    async fn extend(&mut self) -> Result<(), SubscribeError> {
        Ok(())
    }
}

/// What every subscription is told, by the same parameters of its URL for every broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// `group`: each group gets every message, and its members share them.
    pub group: String,
    /// `topics`: what to read, separated by commas.
    pub topics: Vec<Topic>,
    /// `prefetch`: unsettled deliveries at most; 64.
    pub prefetch: usize,
    /// `redeliver_after`: after how long the unsettled deliveries of a consumer that vanished come again, where that is
    /// a matter of time; 30 seconds. A handler that takes longer must call [`Delivery::extend`].
    pub redeliver_after: Duration,
    /// `dead_letters`: the topic that takes what the group gave up; `{group}.dead`.
    pub dead_letters: String,
}

impl SubscribeOptions {
    /// The names of the parameters.
    pub const PARAMETERS: [&'static str; 5] =
        ["group", "topics", "prefetch", "redeliver_after", "dead_letters"];

    /// A member of a group that reads topics.
    #[must_use]
    pub fn new(group: impl Into<String>, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self {
            group: group.into(),
            topics: topics.into_iter().collect(),
            prefetch: 64,
            redeliver_after: Duration::from_secs(30),
            dead_letters: String::new(),
        }
    }

    /// Takes a parameter that belongs here; `false` if it does not.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError::InvalidValue`].
    pub fn set(&mut self, parameter: &UrlParameter<'_>) -> Result<bool, BrokerConfigError> {
        match parameter.name() {
            "group" => self.group = parameter.text().to_owned(),
            "topics" => {
                let topics: Result<_, _> = parameter.list().map(Topic::new).collect();
                self.topics = topics.map_err(|_| parameter.invalid("topics separated by commas"))?;
            }
            "prefetch" => self.prefetch = parameter.number(1..=65_535)?,
            "redeliver_after" => self.redeliver_after = parameter.duration()?,
            "dead_letters" => self.dead_letters = parameter.text().to_owned(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Checks everything, and fills in the name of the dead letters.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] that names the parameter.
    pub fn checked(mut self, broker: &'static str) -> Result<Self, BrokerConfigError> {
        if self.group.is_empty() || self.topics.is_empty() {
            let problem = "a subscription needs group=NAME and topics=TOPIC,…".into();
            return Err(BrokerConfigError::Incomplete { broker, problem });
        }
        let invalid = |parameter: &'static str, expected: &'static str| BrokerConfigError::InvalidValue {
            broker,
            parameter: parameter.into(),
            expected: expected.into(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // The strictest of all brokers, so that a group can move to any of them.
        if self.group.len() > 128 || !self.group.chars().all(plain) {
            return Err(invalid("group", "1 to 128 letters, digits, - _ ."));
        }
        if self.dead_letters.is_empty() {
            self.dead_letters = format!("{}.dead", self.group);
        }
        Topic::new(&self.dead_letters).map_err(|_| invalid("dead_letters", "the name of a topic"))?;
        if self.topics.iter().any(|topic| topic.as_str() == self.dead_letters) {
            // What is given up would come again at once, for ever.
            return Err(invalid("dead_letters", "a topic that is not read itself"));
        }
        if !(1..=65_535).contains(&self.prefetch) {
            return Err(invalid("prefetch", "1 to 65535"));
        }
        if self.redeliver_after < Duration::from_millis(100) {
            return Err(invalid("redeliver_after", "a duration of 100ms or more"));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BrokerUrl;

    fn options(query: &str) -> Result<SubscribeOptions, BrokerConfigError> {
        let url = BrokerUrl::parse("Test", &format!("test://h?{query}"), &["test"])?;
        let mut options = SubscribeOptions::new("", []);
        for parameter in url.parameters() {
            assert!(options.set(&parameter)?);
        }
        options.checked("Test")
    }

    #[test]
    fn the_parameters_are_read_and_completed() {
        let found = options("group=billing&topics=a.b,c&prefetch=7&redeliver_after=2s").unwrap();
        assert_eq!((found.group.as_str(), found.prefetch), ("billing", 7));
        assert_eq!(found.topics.iter().map(Topic::as_str).collect::<Vec<_>>(), ["a.b", "c"]);
        assert_eq!(found.dead_letters, "billing.dead");
        assert_eq!(found.redeliver_after, Duration::from_secs(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, expected) in [
            (
                "topics=a",
                "the Test configuration is incomplete: a subscription needs group=NAME and topics=TOPIC,…",
            ),
            (
                "group=a%20b&topics=a",
                "group of the Test configuration must be 1 to 128 letters, digits, - _ .",
            ),
            ("group=g&topics=a*", "topics of the Test configuration must be topics separated by commas"),
            (
                "group=g&topics=a,b&dead_letters=b",
                "dead_letters of the Test configuration must be a topic that is not read itself",
            ),
            ("group=g&topics=a&prefetch=0", "prefetch of the Test configuration must be 1 to 65535"),
        ] {
            assert_eq!(options(query).unwrap_err().to_string(), expected);
        }
    }
}
