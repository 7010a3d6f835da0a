use std::time::Duration;

use outbox_core::{Limits, SubscriptionCapabilities};

use super::ConsumerError;
use crate::policy::RetryPolicy;

/// How a consumer works. The defaults suit production; every field is documented with its unit and its default.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// Messages that are handled at once. Default 16.
    pub concurrency: usize,
    /// Which of them are handled one after the other. Default [`Order::PerKey`].
    pub order: Order,
    /// When a failed message is tried again, and when it goes to the dead letters. Default: up to 6 tries, after 5 s, 15 s,
    /// 1 min, 5 min, 15 min. `max_unknown` does not matter here.
    pub retry: RetryPolicy,
    /// How long one try may take, before its future is dropped and it counts as failed. Code that blocks can't be stopped: it
    /// belongs into `spawn_blocking`. Default 5 min.
    pub handler_timeout: Duration,
    /// When a message is looked at again that another consumer was handling. Default 1 s.
    pub busy_pause: Duration,
    /// Messages with more bytes of payload go to the dead letters unread. Default 1,000,000.
    pub max_payload: usize,
    /// How long the inbox remembers what was handled. Default 7 days.
    pub inbox_retention: Duration,
    /// What becomes of messages that are older than that, so that the inbox can't tell whether they were handled. Default
    /// [`OldMessages::Park`].
    pub old_messages: OldMessages,
    /// Between two looks for what the inbox may forget. Default 1 min.
    pub purge_interval: Duration,
    /// How long [`crate::ConsumerHandle::shutdown`] waits for the handlers that are running. Default 20 s.
    pub shutdown_timeout: Duration,
}

/// Which messages are handled one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// Those with the same ordering key, in the order in which this consumer receives them; also while one of them waits
    /// for its next try. The default.
    ///
    /// Where the members of a group share the messages and not the keys
    /// ([`SubscriptionCapabilities::partitioned`] is false: all brokers but Kafka), two members may have messages of one
    /// key at the same time. Order needs a group of one member there, or a group for each share of the keys.
    ///
    /// What waits like that is kept in memory, at most half of the subscription's prefetch, so that a few keys can't keep
    /// out all others. What exceeds it is handed back to the broker, the newest first, and its order with it. RabbitMQ knows
    /// no delay: there what is handed back also takes room until its time has come.
    #[default]
    PerKey,
    /// None.
    None,
}

/// What becomes of messages that are older than what the inbox remembers.
///
/// The age is that of the row in the outbox, where the broker carries its time, or else that of a UUIDv7. So a message that
/// was delayed, or lay in the outbox or its dead letters, for longer than the retention is old when it comes for the first
/// time. Choose a retention that is longer than that, or [`OldMessages::Process`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OldMessages {
    /// They go to the dead letters. The default.
    #[default]
    Park,
    /// They are handled, maybe a second time, and counted.
    Process,
}

/// No time is longer, but for the retention.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            order: Order::default(),
            retry: RetryPolicy::default(),
            handler_timeout: Duration::from_secs(300),
            busy_pause: Duration::from_secs(1),
            max_payload: Limits::default().payload,
            inbox_retention: Duration::from_secs(7 * 24 * 60 * 60),
            old_messages: OldMessages::default(),
            purge_interval: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(20),
        }
    }
}

impl ConsumerConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Config`] for the first wrong field: it names the field, its value and what is allowed.
    pub fn validate(&self, subscription: &SubscriptionCapabilities) -> Result<(), ConsumerError> {
        let wrong =
            |field, value: String, expected: String| Err(ConsumerError::Config { field, value, expected });
        if !(1..=subscription.prefetch).contains(&self.concurrency) {
            let expected = format!(
                "allowed are 1 to {}, the prefetch of the {} subscription",
                subscription.prefetch, subscription.name
            );
            return wrong("concurrency", self.concurrency.to_string(), expected);
        }
        if self.retry.max_attempts == 0 {
            return wrong("retry.max_attempts", "0".to_owned(), "at least 1 is needed".to_owned());
        }
        if self.retry.schedule.is_empty() {
            return wrong("retry.schedule", "empty".to_owned(), "at least one pause is needed".to_owned());
        }
        if !(0.0..=1.0).contains(&self.retry.jitter) {
            let expected = "a fraction from 0 to 1 is needed".to_owned();
            return wrong("retry.jitter", self.retry.jitter.to_string(), expected);
        }
        for (field, value) in [
            ("handler_timeout", self.handler_timeout),
            ("busy_pause", self.busy_pause),
            ("inbox_retention", self.inbox_retention),
            ("purge_interval", self.purge_interval),
        ] {
            if value.is_zero() {
                return wrong(field, "0 s".to_owned(), "it must be longer than that".to_owned());
            }
        }
        let pauses = self.retry.schedule.iter().map(|pause| ("retry.schedule", *pause));
        let times = [
            ("handler_timeout", self.handler_timeout),
            ("busy_pause", self.busy_pause),
            ("purge_interval", self.purge_interval),
            ("shutdown_timeout", self.shutdown_timeout),
        ];
        if let Some((field, value)) = pauses.chain(times).find(|(_, value)| *value > LONGEST) {
            return wrong(field, format!("{value:?}"), "at most 7 days are allowed".to_owned());
        }
        if self.max_payload == 0 {
            return wrong("max_payload", "0".to_owned(), "at least 1 is needed".to_owned());
        }
        Ok(())
    }

    /// Why the inbox may forget a message before it comes for the last time; `None` if it does not.
    pub(super) fn forgets_too_early(&self) -> Option<String> {
        let retry = self.retry.longest_time();
        (self.inbox_retention < retry).then(|| {
            format!(
                "inbox_retention is {:?}, but a message is tried for up to {retry:?}: it could be handled twice",
                self.inbox_retention
            )
        })
    }
}
