use std::time::Duration;

use outbox_core::TopicPattern;

/// When a message is tried again, and when it is given up.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Pauses after the first, second, … failed try; the last one repeats. Default 5 s, 15 s, 1 min, 5 min, 15 min.
    pub schedule: Vec<Duration>,
    /// Each pause is lengthened by a random part of up to this fraction, from 0 to 1. Default 0.1.
    pub jitter: f64,
    /// Tries after which a message is dead, unless it carries its own number. Default 6, so that each pause of the default
    /// schedule is used once.
    pub max_attempts: u16,
    /// How often an unknown outcome (time-out, cut connection) is tried again at once before it counts as a failed try.
    /// Default 5.
    pub max_unknown: u16,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            schedule: [5, 15, 60, 300, 900].map(Duration::from_secs).to_vec(),
            jitter: 0.1,
            max_attempts: 6,
            max_unknown: 5,
        }
    }
}

impl RetryPolicy {
    /// The pause after this many failed tries (from 1). `random` from 0 to 1 is the caller's, so that the policy stays a
    /// pure function.
    #[must_use]
    pub fn pause_after(&self, attempts: u16, random: f64) -> Duration {
        let index = usize::from(attempts.max(1) - 1).min(self.schedule.len().saturating_sub(1));
        let pause = self.schedule.get(index).copied().unwrap_or_default();
        pause.mul_f64(1.0 + self.jitter.clamp(0.0, 1.0) * random.clamp(0.0, 1.0))
    }

    /// How long a message is tried at most, from its first try to its last.
    #[must_use]
    pub fn longest_time(&self) -> Duration {
        (1..self.max_attempts).map(|attempts| self.pause_after(attempts, 1.0)).sum()
    }

    /// The longest pause: what a blocked key is tried again at.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.schedule.iter().max().copied().unwrap_or_default()
    }
}

/// What becomes of a key when one of its messages is given up (refused by the broker, or out of tries).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OnDead {
    /// It goes to the dead letters, and the later messages of its key follow it there as they come up, to be replayed
    /// together in order. The default.
    #[default]
    Park,
    /// It goes to the dead letters, and the rest of its key goes on: the order has a hole.
    Skip,
    /// It stays at the head of its key and is tried again at the longest interval until an operator decides.
    Block,
}

/// [`OnDead`] per topic: the first pattern that matches decides.
///
/// Messages without an ordering key hold nobody up; for them `Park` and `Block` mean `Skip`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicPolicies {
    /// Patterns, in order.
    pub rules: Vec<(TopicPattern, OnDead)>,
    /// For all other topics.
    pub default: OnDead,
}

impl TopicPolicies {
    /// The policy of a topic.
    #[must_use]
    pub fn of(&self, topic: &str) -> OnDead {
        self.rules
            .iter()
            .find(|(pattern, _)| pattern.matches(topic))
            .map_or(self.default, |(_, policy)| *policy)
    }
}
