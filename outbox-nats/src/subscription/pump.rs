use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::{Client, Message, StatusCode, Subscriber};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use outbox_core::SubscribeError;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::consumer::Feed;
use super::delivered::Delivered;
use super::error::{Failure, subscribe_error};
use super::inbound::{Arrival, Inbound};

/// Asks the broker for messages as long as there is room for them, and tells it that those which wait are still wanted.
///
/// Runs beside the client, on the thread of the connection, so that it goes on while nobody calls `next`. It lives and
/// dies with the connection.
pub(crate) struct Pump {
    client: Client,
    inbox: Subscriber,
    /// Answers come to `<reply>.<number of the topic>`.
    reply: String,
    pulls: Vec<Pull>,
    inbound: Arc<Inbound>,
    round: u64,
    reason: Option<SubscribeError>,
}

/// What is asked for of one topic.
struct Pull {
    feed: Feed,
    subject: String,
    /// Unsettled messages of this topic at most.
    share: usize,
    /// Messages that were asked for and have not come.
    asked: usize,
    /// The last sign of life.
    heard: Instant,
}

impl Pull {
    /// The server says so often that it is there.
    fn heartbeat(&self) -> Duration {
        (self.feed.expires / 4).min(Duration::from_secs(5))
    }

    fn is_silent(&self) -> bool {
        self.asked > 0 && self.heard.elapsed() > self.heartbeat() * 2 + Duration::from_secs(1)
    }
}

impl Pump {
    pub(crate) fn new(
        client: Client,
        inbox: Subscriber,
        reply: String,
        feeds: Vec<Feed>,
        prefetch: usize,
        inbound: Arc<Inbound>,
    ) -> Self {
        let share = (prefetch / feeds.len().max(1)).max(1);
        let pull = |feed: Feed| Pull {
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", feed.stream, feed.consumer),
            share,
            asked: 0,
            heard: Instant::now(),
            feed,
        };
        let pulls = feeds.into_iter().map(pull).collect();
        let round = inbound.begin();
        Self { client, inbox, reply, pulls, inbound, round, reason: None }
    }

    pub(crate) async fn run(mut self, stop: Arc<Notify>) {
        if let Err(failure) = self.work(&stop).await {
            self.reason = Some(failure);
        }
    }

    async fn work(&mut self, stop: &Notify) -> Result<(), SubscribeError> {
        let shortest = self.pulls.iter().map(|pull| pull.feed.ack_wait / 6).min().unwrap_or_default();
        let mut tick = interval(shortest.clamp(Duration::from_millis(10), Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let inbound = self.inbound.clone();
        loop {
            self.ask().await?;
            tokio::select! {
                message = self.inbox.next() => {
                    self.take(message)?;
                    while let Some(message) = self.inbox.next().now_or_never() {
                        self.take(message)?;
                    }
                }
                () = inbound.room.notified() => {}
                () = stop.notified() => return self.leave().await,
                now = tick.tick() => self.tend(now).await?,
            }
        }
    }

    /// Takes in what has arrived, and has the server forget the pulls. What is on its way comes again when its time has
    /// run out.
    async fn leave(&mut self) -> Result<(), SubscribeError> {
        self.inbox.unsubscribe().await.map_err(|_| subscribe_error(Failure::Lost))?;
        while let Some(message) = self.inbox.next().await {
            self.take(Some(message))?;
        }
        // A server looks for pulls of those who have left when it is asked about the consumer. Before 2.10.15, what is
        // handed back while it has such a pull begins anew as delivery number 1.
        let ask = |pull: &Pull| {
            let Feed { stream, consumer, .. } = &pull.feed;
            self.client.request(format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"), "".into())
        };
        join_all(self.pulls.iter().map(ask)).await;
        Ok(())
    }

    /// One pull per topic at a time, for as many as there is room.
    async fn ask(&mut self) -> Result<(), SubscribeError> {
        for (number, pull) in self.pulls.iter_mut().enumerate() {
            if pull.asked > 0 {
                continue;
            }
            let (taken, waiting) = self.inbound.taken(number);
            let room = pull.share.saturating_sub(taken).min(pull.feed.most);
            // A pull for each single message that was settled would double the traffic.
            if room == 0 || (waiting > 0 && room < pull.share / 2) {
                continue;
            }
            let batch = BatchConfig {
                batch: room,
                expires: Some(pull.feed.expires),
                idle_heartbeat: pull.heartbeat(),
                ..BatchConfig::default()
            };
            let body = serde_json::to_vec(&batch).map_err(|error| ended(&error.to_string()))?;
            let reply = format!("{}.{number}", self.reply);
            let sent = self.client.publish_with_reply(pull.subject.clone(), reply, body.into()).await;
            sent.map_err(|_| subscribe_error(Failure::Lost))?;
            (pull.asked, pull.heard) = (room, Instant::now());
        }
        Ok(())
    }

    fn take(&mut self, message: Option<Message>) -> Result<(), SubscribeError> {
        let message = message.ok_or_else(|| subscribe_error(Failure::Lost))?;
        match message.status {
            Some(status) if !is_delivery(&message) => self.status(status, &message),
            _ => self.arrival(message),
        }
    }

    fn arrival(&mut self, message: Message) -> Result<(), SubscribeError> {
        let delivered = message.reply.as_deref().and_then(Delivered::parse);
        let number = delivered.as_ref().and_then(|delivered| {
            let is_it = |pull: &Pull| {
                pull.feed.consumer == delivered.consumer && pull.feed.stream == delivered.stream
            };
            self.pulls.iter().position(is_it)
        });
        let (Some(topic), Some(delivered), Some(reply)) = (number, &delivered, message.reply.clone()) else {
            return Err(ended("a message came that no consumer of this group has sent"));
        };
        let attempt = delivered.attempt;
        let pull = &mut self.pulls[topic];
        let now = Instant::now();
        (pull.asked, pull.heard) = (pull.asked.saturating_sub(1), now);
        let ack_wait = pull.feed.ack_wait;
        self.inbound.push(Arrival { topic, message, reply, attempt, ack_wait, since: now });
        Ok(())
    }

    fn status(&mut self, status: StatusCode, message: &Message) -> Result<(), SubscribeError> {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse::<usize>().ok());
        let Some(pull) = number.and_then(|number| self.pulls.get_mut(number)) else {
            return Ok(());
        };
        pull.heard = Instant::now();
        let text = message.description.as_deref().unwrap_or_default();
        match (status.as_u16(), text) {
            // A heartbeat.
            (100, _) => {}
            // The time of the pull is over. The other two leave it open whether others would fare better: they do.
            (404 | 408, _) | (409, "Batch Completed" | "Leadership Change") => pull.asked = 0,
            (409, "Consumer Deleted") => {
                let Feed { stream, consumer, .. } = &pull.feed;
                return Err(subscribe_error(Failure::Deleted { stream, consumer }));
            }
            (503, _) => return Err(ended("nobody answers; the consumer is gone, or JetStream is down")),
            (code, text) => return Err(ended(&format!("{code} {text}"))),
        }
        Ok(())
    }

    async fn tend(&mut self, now: Instant) -> Result<(), SubscribeError> {
        if self.pulls.iter().any(Pull::is_silent) {
            return Err(subscribe_error(Failure::Silent));
        }
        for reply in self.inbound.tend(now) {
            let told = self.client.publish(reply, "+WPI".into()).await;
            told.map_err(|_| subscribe_error(Failure::Lost))?;
        }
        Ok(())
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or_else(|| subscribe_error(Failure::Lost));
        self.inbound.end(self.round, reason);
    }
}

/// A stream stores headers as they are, so a message of anybody may have a status of its own. Only what is to be
/// acknowledged comes from a stream.
fn is_delivery(message: &Message) -> bool {
    message.reply.as_deref().is_some_and(|reply| reply.starts_with("$JS.ACK."))
}

fn ended(text: &str) -> SubscribeError {
    subscribe_error(Failure::Ended(text.to_owned()))
}
