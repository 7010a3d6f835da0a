use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicPublishOptions};
use lapin::{Acker, BasicProperties, Channel, Confirmation};
use outbox_core::{Receipt, SubscribeError, SubscribeErrorKind};
use tokio::time::Instant;

use super::config::AmqpSubscriptionConfig;
use super::dead_letter;
use super::session::{self, STEP, Session, within};
use crate::connection::{Connection, Readiness};
use crate::error::subscribe_error;
use crate::link::Link;

/// When a message comes again that could not be given up.
const BURY_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct AmqpReceipt {
    config: Arc<AmqpSubscriptionConfig>,
    connection: Arc<Connection>,
    burials: Arc<Link>,
    channel: Channel,
    acker: Acker,
    topic: String,
    properties: BasicProperties,
    /// Of the delivery, for the dead letters.
    payload: Bytes,
}

impl AmqpReceipt {
    pub(super) fn new(
        config: &Arc<AmqpSubscriptionConfig>,
        session: &Session,
        burials: &Arc<Link>,
        delivery: lapin::message::Delivery,
        payload: Bytes,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            connection: Arc::clone(&session.connection),
            burials: Arc::clone(burials),
            channel: session.channel.clone(),
            acker: delivery.acker,
            topic: delivery.routing_key.as_str().to_owned(),
            properties: delivery.properties,
            payload,
        }
    }

    /// A delivery can be settled on its own channel and on no other.
    fn current(&self) -> Result<(), SubscribeError> {
        if self.channel.status().connected() && self.connection.is_up() { Ok(()) } else { Err(stale()) }
    }

    async fn settle_as_done(&self) -> Result<(), SubscribeError> {
        self.current()?;
        settled(self.acker.ack(BasicAckOptions::default()).await)
    }

    /// The message as it was, with the reason, confirmed by the queue of dead letters. Nothing is sent to a broker that
    /// would take it only when its alarm is over, because the message comes again by then.
    async fn bury(&self, reason: &str) -> Result<(), SubscribeError> {
        let deadline = Instant::now() + STEP;
        let mut burial = Burial::by(session::connection(&self.burials).await?);
        let readiness = burial.connection.readiness(deadline).await;
        let readiness = readiness.map_err(|error| subscribe_error("the default exchange", &error))?;
        let buried = match readiness {
            Readiness::Takes => self.publish(&burial.connection, reason).await,
            Readiness::Silent => return Err(session::silent()),
            Readiness::Blocked => Err(blocked()),
        };
        burial.is_known = true;
        buried
    }

    async fn publish(&self, connection: &Connection, reason: &str) -> Result<(), SubscribeError> {
        let queue = &self.config.options.dead_letters;
        let failed = |error: lapin::Error| subscribe_error(&format!("the queue {queue:?}"), &error);
        let channel = connection.channel(async |_| Ok(())).await.map_err(failed)?;
        let properties =
            dead_letter::properties(&self.properties, &self.topic, &self.config.options.group, reason);
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let publishing =
            channel.basic_publish("".into(), queue.as_str().into(), options, &self.payload, properties);
        let confirmation = publishing.await.map_err(failed)?.await.map_err(failed)?;
        // Alone on its channel, a returned message can only be this one.
        let rest = channel.wait_for_confirms().await.map_err(failed)?;
        match confirmation {
            Confirmation::Ack(None) if rest.is_empty() => {
                connection.give_back(channel);
                connection.answered();
                Ok(())
            }
            Confirmation::Ack(_) => Err(SubscribeError::new(
                SubscribeErrorKind::Missing,
                format!("there is no queue {queue:?} for dead letters: declare it, or let create=true do so"),
            )),
            _ => Err(SubscribeError::new(
                SubscribeErrorKind::Refused,
                format!("the queue {queue:?} for dead letters did not take the message"),
            )),
        }
    }
}

/// A dead letter that is under way. Where it is not known what became of it, its connection ends, so that it can't be
/// written any more when the message has come again.
struct Burial {
    connection: Arc<Connection>,
    is_known: bool,
}

impl Burial {
    const fn by(connection: Arc<Connection>) -> Self {
        Self { connection, is_known: false }
    }
}

impl Drop for Burial {
    fn drop(&mut self) {
        if !self.is_known {
            self.connection.end();
        }
    }
}

fn blocked() -> SubscribeError {
    let text =
        "RabbitMQ takes no dead letters now: an alarm of its memory or disk; see rabbitmq-diagnostics alarms";
    SubscribeError::new(SubscribeErrorKind::Unavailable, text)
}

fn stale() -> SubscribeError {
    let text = "the connection that the delivery came by is gone; it comes again";
    SubscribeError::new(SubscribeErrorKind::Stale, text)
}

fn settled(result: lapin::Result<bool>) -> Result<(), SubscribeError> {
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(stale()),
        Err(error) => Err(stale().with_source(error)),
    }
}

#[async_trait]
impl Receipt for AmqpReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        within(self.settle_as_done()).await
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        self.current()?;
        let again = BasicNackOptions { multiple: false, requeue: true };
        if delay.is_zero() {
            return within(async { settled(self.acker.nack(again).await) }).await;
        }
        // It stays with this member meanwhile; if that ends, it comes again all the same.
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = self.acker.nack(again).await;
        });
        Ok(())
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        self.current()?;
        if let Err(error) = within(self.bury(reason)).await {
            // Kept, it would take the place of another one for as long as the connection lasts.
            let _ = self.nack(BURY_PAUSE).await;
            return Err(error);
        }
        within(self.settle_as_done()).await
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.current()
    }
}
