use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Event};
use tokio::time::Instant;

use crate::connection::Connection;

/// A queue that can't exist: names that begin like this are the broker's own, and it has none of this name.
const NO_QUEUE: &str = "amq.outbox.probe";

/// Whatever no queue takes comes back.
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// For how long an answer is believed.
const SILENCE: Duration = Duration::from_secs(5);

/// What is known of a connection that was not told to be blocked.
///
/// While the broker has an alarm of its memory or disk, it tells a connection so when it reads a message from there, and
/// reads no more; everything that was sent behind it waits in the buffers of the operating system, and is taken when the
/// alarm is over, whoever has given up by then. Therefore a connection that was silent is asked before it is used: by a
/// message that no queue can take, and that comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Probe {
    #[default]
    Unasked,
    /// It took messages at this time.
    Answered(Instant),
    /// It took messages when it was asked, and closed the channel, because this user may not write to the default
    /// exchange. Asking again would fill its log.
    Refused,
}

impl Probe {
    pub(crate) fn is_due(self, now: Instant) -> bool {
        match self {
            Self::Unasked => true,
            Self::Answered(time) => now.saturating_duration_since(time) >= SILENCE,
            Self::Refused => false,
        }
    }

    /// After a window that was answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        if *self != Self::Refused {
            *self = Self::Answered(now);
        }
    }
}

/// Asks whether the broker takes messages on this connection now; `None` if it says that it has an alarm.
pub(crate) async fn ask(connection: &Connection) -> lapin::Result<Option<Probe>> {
    let mut events = pin!(connection.client().events_listener());
    // Only now, so that nothing is missed in between.
    if connection.is_blocked() {
        return Ok(None);
    }
    let blocked = async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::ConnectionBlocked(_)) {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = blocked => Ok(None),
        answer = answer(connection) => answer.map(Some),
    }
}

async fn answer(connection: &Connection) -> lapin::Result<Probe> {
    // One that was used before is ready for messages, and remains so.
    let idle = connection.take_idle();
    let keep = idle.is_some();
    let channel = match idle {
        Some(channel) => channel,
        None => connection.channel(async |_| Ok(())).await?,
    };
    match returned(&channel).await {
        Ok(()) if keep => connection.give_back(channel),
        Ok(()) => {}
        Err(error) if error.is_amqp_soft_error() && connection.is_up() => return Ok(Probe::Refused),
        Err(error) => return Err(error),
    }
    Ok(Probe::Answered(Instant::now()))
}

/// With a payload: the broker stops reading between the head of a message and its payload, so that it can't confirm this
/// one and be blocked.
async fn returned(channel: &Channel) -> lapin::Result<()> {
    let properties = BasicProperties::default();
    let publishing = channel.basic_publish("".into(), NO_QUEUE.into(), MANDATORY, b"?", properties);
    publishing.await?.await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_it_due_and_answers_do_not() {
        let now = Instant::now();
        let mut probe = Probe::default();
        assert!(probe.is_due(now));
        probe.answered(now);
        assert!(!probe.is_due(now) && !probe.is_due(now + SILENCE / 2));
        assert!(probe.is_due(now + SILENCE));
        let mut refused = Probe::Refused;
        refused.answered(now);
        assert!(!refused.is_due(now + 100 * SILENCE));
    }
}
