use std::collections::HashMap;
use std::time::SystemTime;

use outbox_core::{DeadReason, OutboxMessage, Outcome, PublishErrorKind, Topic};

/// What one batch comes to: plain numbers, so that the recorder is asked once per batch and not once per message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BatchTally {
    /// The topic that is being counted. Nearly always a batch has one, and no map is needed.
    run: Option<(Topic, u64)>,
    topics: HashMap<Topic, u64>,
    errors: Vec<(PublishErrorKind, u64)>,
    /// When some of the confirmed messages could be delivered first.
    observed: Vec<SystemTime>,
    step: usize,
    seen: usize,
}

impl BatchTally {
    /// Latencies observed of a batch at most.
    pub(crate) const OBSERVED: usize = 16;

    /// For a batch of this many messages.
    pub(crate) fn of(messages: usize) -> Self {
        Self { step: messages.div_ceil(Self::OBSERVED).max(1), ..Self::default() }
    }

    pub(crate) fn confirmed(&mut self, message: &OutboxMessage) {
        match &mut self.run {
            Some((topic, count)) if topic == message.topic() => *count += 1,
            run => {
                if let Some((topic, count)) = run.replace((message.topic().clone(), 1)) {
                    *self.topics.entry(topic).or_default() += count;
                }
            }
        }
        // Evenly over the batch: its first messages have waited longest.
        if self.seen.is_multiple_of(self.step)
            && let Some(created_at) = message.created_at()
        {
            self.observed.push(message.available_at().map_or(created_at, |at| at.max(created_at)));
        }
        self.seen += 1;
    }

    pub(crate) fn failed(&mut self, kind: PublishErrorKind) {
        match self.errors.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.errors.push((kind, 1)),
        }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = (&Topic, u64)> {
        let topics = self.topics.iter().map(|(topic, count)| (topic, *count));
        topics.chain(self.run.as_ref().map(|(topic, count)| (topic, *count)))
    }

    pub(crate) fn errors(&self) -> &[(PublishErrorKind, u64)] {
        &self.errors
    }

    pub(crate) fn observed(&self) -> &[SystemTime] {
        &self.observed
    }
}

/// What one settle has written, apart from the messages that are delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SettleTally {
    pub(crate) retries: u64,
    pub(crate) dead: Vec<(DeadReason, u64)>,
}

impl SettleTally {
    pub(crate) fn of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            match outcome {
                Outcome::Retry { .. } => tally.retries += 1,
                Outcome::Dead { reason, .. } => match tally.dead.iter_mut().find(|(of, _)| of == reason) {
                    Some((_, count)) => *count += 1,
                    None => tally.dead.push((*reason, 1)),
                },
                _ => {}
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(topic: &str, created: u64) -> OutboxMessage {
        let mut parts = OutboxMessage::bytes(topic, "x").unwrap().build().unwrap().into_parts();
        parts.created_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(created));
        OutboxMessage::stored(parts)
    }

    #[test]
    fn topics_are_counted_however_they_alternate() {
        let mut tally = BatchTally::of(5);
        for topic in ["a", "a", "b", "a", "c"] {
            tally.confirmed(&message(topic, 1));
        }
        let mut topics: Vec<_> = tally.topics().map(|(topic, count)| (topic.as_str(), count)).collect();
        topics.sort_unstable();
        assert_eq!(topics, [("a", 3), ("b", 1), ("c", 1)]);
        // The run under way stands beside earlier ones of its topic.
        tally.confirmed(&message("a", 1));
        let of_a = tally.topics().filter(|(topic, _)| topic.as_str() == "a").map(|(_, count)| count);
        assert_eq!(of_a.sum::<u64>(), 4);
    }

    #[test]
    fn a_small_batch_is_observed_whole_and_a_large_one_evenly() {
        let observed = |size: u64| {
            let mut tally = BatchTally::of(usize::try_from(size).unwrap());
            (0..size).for_each(|second| tally.confirmed(&message("a", second)));
            let seconds = |at: &SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            tally.observed().iter().map(seconds).collect::<Vec<_>>()
        };
        assert_eq!(observed(3), [0, 1, 2]);
        assert_eq!(observed(16), (0..16).collect::<Vec<_>>());
        assert_eq!(observed(1000), (0..1000).step_by(63).collect::<Vec<_>>());
    }

    #[test]
    fn a_delayed_message_waits_from_its_own_time_on() {
        let mut parts = message("a", 10).into_parts();
        parts.available_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(50));
        let mut tally = BatchTally::of(1);
        tally.confirmed(&OutboxMessage::stored(parts));
        assert_eq!(tally.observed(), [SystemTime::UNIX_EPOCH + Duration::from_secs(50)]);
    }

    #[test]
    fn a_settle_is_counted_by_outcome_and_reason() {
        let retry = Outcome::Retry { attempts: 1, after: Duration::ZERO, error: String::new() };
        let dead = |reason| Outcome::Dead { attempts: 1, reason, error: None, parked_behind: None };
        let outcomes = [
            Outcome::Delivered,
            retry,
            dead(DeadReason::Rejected),
            Outcome::Delay,
            dead(DeadReason::Rejected),
        ];
        let tally = SettleTally::of(outcomes.iter());
        assert_eq!(tally, SettleTally { retries: 1, dead: vec![(DeadReason::Rejected, 2)] });
    }
}
