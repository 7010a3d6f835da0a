//! Receiving: a consumer of a queue.

mod config;

mod dead_letter;
mod receipt;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::types::AMQPValue;
use outbox_core::{
    BrokerConfigError, Delivery, SubscribeError, SubscribeErrorKind, Subscription, SubscriptionCapabilities,
    Undecodable,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

pub use config::AmqpSubscriptionConfig;

use receipt::AmqpReceipt;
use session::Session;

use crate::codec::decode;
use crate::error::subscribe_error;
use crate::link::Link;
use crate::tls;

/// Reads a queue as one of its consumers. The members of a group share a queue; with an exchange, each group has one of
/// its own that is bound to the topics.
///
/// * An unsettled delivery comes again when its connection is lost, or when the broker's own `consumer_timeout` (30
///   minutes as installed) has run out; there is nothing to extend.
/// * A delivery that is handed back with a delay stays with this member until then, because RabbitMQ knows no delay, and
///   counts as unsettled.
/// * A quorum queue counts deliveries, also those that this client had received and not handed out when it closed. Since
///   RabbitMQ 4 it gives a message up by itself after 20 of them, unless a policy sets `delivery-limit`. A queue that was
///   declared here (`create=true`) then hands it to the group's dead letters; one that was declared elsewhere needs
///   `x-dead-letter-exchange` for that, or the message is deleted.
/// * Dead letters are published by a connection of their own, opened for the first of them. While the broker has an alarm
///   of its memory or disk it takes none, and they come again; everything else is received and settled as before.
///
/// A broker that can't be reached is an error of [`Subscription::next`], never of the construction.
pub struct AmqpSubscription {
    config: Arc<AmqpSubscriptionConfig>,
    link: Arc<Link>,
    /// Of the dead letters: while the broker has an alarm, it reads nothing more from a connection that publishes, not
    /// even what settles a delivery.
    burials: Arc<Link>,
    session: Option<Session>,
    /// An attempt that is under way, so that dropping a call of `next` does not begin it anew.
    opening: Option<JoinHandle<Result<Session, SubscribeError>>>,
    failures: u32,
    not_before: Option<Instant>,
    closed: bool,
}

impl AmqpSubscription {
    /// Between two attempts, at first and at most.
    const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

    /// A subscription from a URL; `AmqpSubscriptionConfig` has the list of its parameters. Tries once to reach the
    /// broker, and only logs if that fails: it may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong, or a file that it names; never because of the broker.
    ///
    /// # Cancel safety
    ///
    /// Yes; a queue may have been declared.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let mut subscription = Self::new(url.parse()?)?;
        if let Err(error) = subscription.check().await {
            tracing::warn!("the RabbitMQ subscription is not ready yet: {error}");
        }
        Ok(subscription)
    }

    /// A subscription that does not connect before it is read.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or a file can't be read.
    pub fn new(config: AmqpSubscriptionConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        let tls = tls::connector(&config.endpoint.tls)?;
        let link = || Arc::new(Link::new(config.endpoint.clone(), tls.clone()));
        let (link, burials) = (link(), link());
        let (config, session, opening) = (Arc::new(config), None, None);
        Ok(Self { config, link, burials, session, opening, failures: 0, not_before: None, closed: false })
    }

    fn open(&self) -> Result<(), SubscribeError> {
        if self.closed {
            return Err(session::closed());
        }
        Ok(())
    }

    /// The session, opened if there is none; after a failure not before a pause is over.
    async fn session(&mut self) -> Result<&mut Session, SubscribeError> {
        if self.session.is_none() {
            if let Some(time) = self.not_before {
                sleep_until(time).await;
            }
            let opening = self.opening.get_or_insert_with(|| {
                let (link, config) = (Arc::clone(&self.link), Arc::clone(&self.config));
                tokio::spawn(async move { session::open(&link, &config).await })
            });
            let opened = opening.await;
            self.opening = None;
            match opened {
                Ok(Ok(session)) => self.session = Some(session),
                Ok(Err(error)) => return Err(self.failed(error)),
                Err(_) => return Err(self.failed(ended())),
            }
        }
        self.session.as_mut().ok_or_else(ended)
    }

    async fn end(&self) {
        self.link.end().await;
        self.burials.end().await;
    }

    fn give_up_opening(&mut self) {
        if let Some(opening) = self.opening.take() {
            opening.abort();
        }
    }

    fn failed(&mut self, error: SubscribeError) -> SubscribeError {
        self.session = None;
        let pause = Self::PAUSE.0 * 2_u32.saturating_pow(self.failures.min(10));
        self.not_before = Some(Instant::now() + pause.min(Self::PAUSE.1));
        self.failures += 1;
        error
    }

    fn delivery(&self, session: &Session, mut delivery: lapin::message::Delivery) -> Delivery {
        let attempt = attempt(&delivery);
        // The queue of one topic may be read by the default exchange, or a binding may rename it; what the message was
        // published with is its topic.
        let topic = delivery.routing_key.as_str();
        // Shared by the message and its receipt, which may have to bury it.
        let payload = Bytes::from(std::mem::take(&mut delivery.data));
        let message = decode(topic, &delivery.properties, payload.clone());
        let message =
            message.map_err(|error| Undecodable { topic: topic.to_owned(), error, payload: payload.clone() });
        let receipt = AmqpReceipt::new(&self.config, session, &self.burials, delivery, payload);
        Delivery::new(message, attempt, Box::new(receipt))
    }
}

/// How often it was delivered, where the queue counts or this is the first time.
fn attempt(delivery: &lapin::message::Delivery) -> Option<u32> {
    let counted =
        delivery.properties.headers().as_ref().and_then(|headers| headers.inner().get("x-delivery-count"));
    let counted = match counted {
        Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::LongUInt(count)) => Some(*count),
        Some(AMQPValue::ShortInt(count)) => u32::try_from(*count).ok(),
        Some(AMQPValue::ShortShortInt(count)) => u32::try_from(*count).ok(),
        _ => None,
    };
    match counted {
        // It came with the message, and can be any number.
        Some(before) => Some(before.saturating_add(1)),
        None => (!delivery.redelivered).then_some(1),
    }
}

fn ended() -> SubscribeError {
    SubscribeError::new(SubscribeErrorKind::Unavailable, "the connection to RabbitMQ was lost")
}

#[async_trait]
impl Subscription for AmqpSubscription {
    fn capabilities(&self) -> SubscriptionCapabilities {
        SubscriptionCapabilities::new("amqp")
            .counts_deliveries(self.config.queue_type == crate::QueueType::Quorum)
            .fan_out(!self.config.exchange.is_empty())
            .prefetch(self.config.options.prefetch)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        self.open()?;
        let queue = format!("the queue {:?}", self.config.queue);
        let session = self.session().await?;
        let error = match session.consumer.next().await {
            // Those that the client still has of a connection that is gone come again; nobody could settle them.
            Some(Ok(_)) if !session.connection.is_up() => ended(),
            Some(Ok(delivery)) => {
                self.failures = 0;
                return match &self.session {
                    Some(session) => Ok(self.delivery(session, delivery)),
                    None => Err(ended()),
                };
            }
            Some(Err(error)) => subscribe_error(&queue, &error),
            // The broker has ended it: the queue was deleted, or the node that had it has gone.
            None if session.connection.is_up() => {
                let text = format!("{queue} was deleted, or moved to another node");
                SubscribeError::new(SubscribeErrorKind::Missing, text)
            }
            None => ended(),
        };
        Err(self.failed(error))
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        self.open()?;
        let connection = session::connection(&self.link).await?;
        session::within(session::prepare(&connection, &self.config)).await
    }

    async fn close(&mut self, time: Duration) -> Result<(), SubscribeError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.give_up_opening();
        let Some(session) = self.session.take() else {
            self.end().await;
            return Ok(());
        };
        // What is unsettled is in the queue again when the channel is closed.
        let closed = timeout(time, session.channel.close(200, "done".into())).await;
        if matches!(closed, Ok(Ok(()))) {
            tokio::join!(self.link.close(), self.burials.close());
        } else {
            self.end().await;
        }
        let late = "RabbitMQ did not answer in time; what was unsettled comes again when it notices";
        match closed {
            Ok(Ok(())) => Ok(()),
            // A channel that is gone has nothing that would have to be handed back.
            Ok(Err(_)) if !session.channel.status().connected() => Ok(()),
            Ok(Err(error)) => Err(subscribe_error("the channel", &error)),
            Err(_) => Err(SubscribeError::new(SubscribeErrorKind::Unavailable, late)),
        }
    }
}

impl Drop for AmqpSubscription {
    fn drop(&mut self) {
        self.give_up_opening();
    }
}

impl fmt::Debug for AmqpSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpSubscription").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::FieldTable;

    use super::*;

    fn delivered(count: Option<AMQPValue>, redelivered: bool) -> lapin::message::Delivery {
        let mut delivery = lapin::message::Delivery::mock(1, "".into(), "t".into(), redelivered, Vec::new());
        if let Some(count) = count {
            let mut headers = FieldTable::default();
            headers.insert("x-delivery-count".into(), count);
            delivery.properties = BasicProperties::default().with_headers(headers);
        }
        delivery
    }

    #[test]
    fn any_number_of_deliveries_is_counted_from_one() {
        for (count, redelivered, expected) in [
            (None, false, Some(1)),
            (None, true, None),
            (Some(AMQPValue::LongLongInt(2)), true, Some(3)),
            (Some(AMQPValue::LongLongInt(-1)), true, None),
            // Whoever publishes can write what he likes.
            (Some(AMQPValue::LongUInt(u32::MAX)), true, Some(u32::MAX)),
            (Some(AMQPValue::LongLongInt(u32::MAX.into())), false, Some(u32::MAX)),
        ] {
            let found = attempt(&delivered(count.clone(), redelivered));
            assert_eq!(found, expected, "{count:?}");
        }
    }
}
