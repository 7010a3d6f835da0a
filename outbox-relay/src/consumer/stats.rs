use crate::stats::Counter;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a consumer has done since it started.
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
        #[non_exhaustive]
        pub struct ConsumerStats { $($(#[$doc])* pub $name: u64),* }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: Counter),* }

        impl Counters {
            pub(super) fn snapshot(&self) -> ConsumerStats {
                ConsumerStats { $($name: self.$name.get()),* }
            }
        }
    };
}

figures! {
    /// Deliveries, also those that were no messages.
    received,
    /// Messages whose effects were committed.
    applied,
    /// Messages that had been handled before.
    duplicates,
    /// Messages that nobody wanted.
    skipped,
    /// Failed tries, panics and time-outs included.
    failed,
    /// Tries that panicked.
    panicked,
    /// Tries that took too long.
    timed_out,
    /// Failed tries after which the message is tried again.
    retried,
    /// Messages that another consumer was handling.
    busy,
    /// Messages that wait because something is away that their handler, or the count of tries, needs.
    unavailable,
    /// Messages handed back to the broker, to come again later.
    handed_back,
    /// Deliveries that went to the dead letters, for whatever reason.
    dead,
    /// Of these, deliveries that were no messages of an outbox.
    undecodable,
    /// Messages older than what the inbox remembers, whatever became of them.
    too_old,
    /// Tries that were counted before they began, because an earlier one may have taken the process down.
    suspected,
    /// Of these, tries that were made with nothing else under way, because an earlier one has not ended.
    alone,
    /// Settlements that the broker may not know of: the message may come again.
    settle_errors,
    /// Failed attempts to receive.
    receive_errors,
    /// What the inbox has forgotten.
    purged,
    /// Handlers that are running.
    running,
    /// Deliveries that wait in memory.
    waiting,
}
