use std::time::Duration;

use outbox_core::{DeadReason, PublishErrorKind};

use crate::policy::{OnDead, RetryPolicy};

/// What happened to a message that was handed to a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The broker confirmed it.
    Confirmed,
    /// The transport said what went wrong.
    Failed(PublishErrorKind),
    /// It was never handed over, because the stored row is no valid message.
    Undecodable,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What happened.
    pub attempt: Attempt,
    /// Tries so far, this one included.
    pub attempts: u16,
    /// Unknown outcomes in a row before this one.
    pub unknowns: u16,
    /// Whether the message has an ordering key.
    pub keyed: bool,
    /// The message's own number of tries.
    pub max_attempts: Option<u16>,
    /// What becomes of its key if it is given up.
    pub on_dead: OnDead,
    /// When it is tried again.
    pub retry: &'a RetryPolicy,
    /// From 0 to 1, for the jitter.
    pub random: f64,
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Its row is deleted.
    Deliver,
    /// It was not tried: it stays where it is until the destination is back.
    Wait,
    /// Nobody knows: it is tried again after a short pause, from memory, and its key waits.
    Again {
        /// The pause.
        after: Duration,
    },
    /// It is tried again later; its key is held.
    Retry {
        /// Tries so far.
        attempts: u16,
        /// The pause.
        after: Duration,
    },
    /// It is given up.
    Bury {
        /// Tries so far.
        attempts: u16,
        /// Why.
        reason: DeadReason,
        /// Whether its key is parked with it.
        park: bool,
    },
}

/// The relay's whole judgement about one message, without clock, randomness or I/O of its own.
#[must_use]
pub fn decide(situation: Situation<'_>) -> Transition {
    let Situation { attempt, attempts, unknowns, retry, random, .. } = situation;
    match attempt {
        Attempt::Confirmed => Transition::Deliver,
        Attempt::Undecodable => give_up(situation, attempts.saturating_sub(1), DeadReason::Undecodable),
        Attempt::Failed(PublishErrorKind::Unavailable) => Transition::Wait,
        Attempt::Failed(PublishErrorKind::Unknown) if unknowns < retry.max_unknown => {
            // 100 ms, doubled each time, at most 5 s: long enough for a connection to come back, short against a lease.
            let doublings = u32::from(unknowns.min(6));
            let after = Duration::from_millis(100 << doublings).min(Duration::from_secs(5));
            Transition::Again { after }
        }
        Attempt::Failed(PublishErrorKind::Rejected) => give_up(situation, attempts, DeadReason::Rejected),
        // Retryable, an unknown outcome beyond its cap, and kinds that a later version may add.
        Attempt::Failed(_) => {
            if attempts >= situation.max_attempts.unwrap_or(retry.max_attempts) {
                give_up(situation, attempts, DeadReason::AttemptsExhausted)
            } else {
                Transition::Retry { attempts, after: retry.pause_after(attempts, random) }
            }
        }
    }
}

fn give_up(situation: Situation<'_>, attempts: u16, reason: DeadReason) -> Transition {
    match situation.on_dead {
        OnDead::Block if situation.keyed => {
            Transition::Retry { attempts: attempts.max(1), after: situation.retry.longest_pause() }
        }
        on_dead => Transition::Bury { attempts, reason, park: situation.keyed && on_dead == OnDead::Park },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(retry: &RetryPolicy, kind: PublishErrorKind) -> Situation<'_> {
        Situation {
            attempt: Attempt::Failed(kind),
            attempts: 1,
            unknowns: 0,
            keyed: true,
            max_attempts: None,
            on_dead: OnDead::Park,
            retry,
            random: 0.0,
        }
    }

    #[test]
    fn an_outage_uses_no_attempt() {
        let retry = RetryPolicy::default();
        let long = Situation { attempts: 1000, ..situation(&retry, PublishErrorKind::Unavailable) };
        assert_eq!(decide(long), Transition::Wait);
    }

    #[test]
    fn the_schedule_is_followed_and_then_the_message_is_dead() {
        let retry = RetryPolicy::default();
        let after =
            |attempts| match decide(Situation { attempts, ..situation(&retry, PublishErrorKind::Retryable) })
            {
                Transition::Retry { after, .. } => after.as_secs(),
                other => panic!("{other:?}"),
            };
        assert_eq!([1, 2, 3, 4, 5].map(after), [5, 15, 60, 300, 900]);
        let last = decide(Situation { attempts: 6, ..situation(&retry, PublishErrorKind::Retryable) });
        assert_eq!(last, Transition::Bury { attempts: 6, reason: DeadReason::AttemptsExhausted, park: true });
    }

    #[test]
    fn a_message_may_carry_its_own_number_of_tries() {
        let retry = RetryPolicy::default();
        let base = situation(&retry, PublishErrorKind::Retryable);
        assert!(matches!(decide(Situation { max_attempts: Some(1), ..base }), Transition::Bury { .. }));
        let patient = Situation { max_attempts: Some(9), attempts: 8, ..base };
        assert_eq!(decide(patient), Transition::Retry { attempts: 8, after: Duration::from_secs(900) });
    }

    #[test]
    fn a_refused_message_is_dead_at_once_and_its_key_follows_the_policy() {
        let retry = RetryPolicy::default();
        let base = situation(&retry, PublishErrorKind::Rejected);
        let bury = |park| Transition::Bury { attempts: 1, reason: DeadReason::Rejected, park };
        assert_eq!(decide(base), bury(true));
        assert_eq!(decide(Situation { on_dead: OnDead::Skip, ..base }), bury(false));
        assert_eq!(decide(Situation { keyed: false, ..base }), bury(false));
        let block = Situation { on_dead: OnDead::Block, ..base };
        assert_eq!(decide(block), Transition::Retry { attempts: 1, after: Duration::from_secs(900) });
        assert_eq!(decide(Situation { keyed: false, ..block }), bury(false));
    }

    #[test]
    fn an_unknown_outcome_uses_no_attempt_up_to_a_cap() {
        let retry = RetryPolicy::default();
        let base = situation(&retry, PublishErrorKind::Unknown);
        assert_eq!(decide(base), Transition::Again { after: Duration::from_millis(100) });
        assert_eq!(
            decide(Situation { unknowns: 4, ..base }),
            Transition::Again { after: Duration::from_millis(1600) }
        );
        assert!(matches!(decide(Situation { unknowns: 5, ..base }), Transition::Retry { attempts: 1, .. }));
    }

    #[test]
    fn jitter_lengthens_by_its_fraction_at_most() {
        let retry = RetryPolicy { jitter: 0.5, ..RetryPolicy::default() };
        let base = situation(&retry, PublishErrorKind::Retryable);
        let after = |random| match decide(Situation { random, ..base }) {
            Transition::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!([after(0.0), after(1.0)], [5.0, 7.5].map(Duration::from_secs_f64));
    }

    #[test]
    fn an_unreadable_row_is_dead_without_a_try() {
        let retry = RetryPolicy::default();
        let base =
            Situation { attempt: Attempt::Undecodable, ..situation(&retry, PublishErrorKind::Rejected) };
        assert_eq!(
            decide(base),
            Transition::Bury { attempts: 0, reason: DeadReason::Undecodable, park: true }
        );
    }
}
