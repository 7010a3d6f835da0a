//! What goes to the dead letters without a try.

use std::time::{Duration, SystemTime};

use outbox_core::{OutboxMessage, Undecodable};

use super::config::OldMessages;
use super::work::Shared;

impl<H> Shared<H> {
    /// The message of a delivery that is tried, or why it is not.
    pub(super) fn admit(
        &self,
        received: Result<OutboxMessage, Undecodable>,
    ) -> Result<OutboxMessage, String> {
        let message = received.map_err(|undecodable| {
            self.counters.undecodable.add(1);
            format!("no message of an outbox: {}", undecodable.error)
        })?;
        self.refusal(&message).map_or(Ok(message), Err)
    }

    fn refusal(&self, message: &OutboxMessage) -> Option<String> {
        let config = &self.config;
        let (actual, limit) = (message.payload().len(), config.max_payload);
        if actual > limit {
            return Some(format!("the payload has {actual} bytes, at most {limit} are allowed"));
        }
        // Without an inbox nothing is remembered, and nothing forgotten.
        self.inbox.as_ref()?;
        let age = age(message)?;
        if age <= config.inbox_retention {
            return None;
        }
        self.counters.too_old.add(1);
        (config.old_messages == OldMessages::Park).then(|| {
            let (age, retention) = (age.as_secs(), config.inbox_retention.as_secs());
            format!(
                "the message is {age} s old and the inbox remembers {retention} s: it may have been handled before"
            )
        })
    }
}

/// How old a message is: by the time of its row where the broker carries it, or else by the time in its id. `None` if it
/// has neither, and for one that comes from the future.
fn age(message: &OutboxMessage) -> Option<Duration> {
    let made = message.created_at().or_else(|| {
        let (seconds, nanoseconds) = message.id().as_uuid().get_timestamp()?.to_unix();
        Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds))
    })?;
    SystemTime::now().duration_since(made).ok()
}
