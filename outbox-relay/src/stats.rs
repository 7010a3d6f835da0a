use std::sync::atomic::{AtomicU64, Ordering};

/// What a relay has done since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RelayStats {
    /// Messages that a broker confirmed.
    pub delivered: u64,
    /// Failed tries that are tried again later.
    pub retried: u64,
    /// Messages that went to the dead letters, parked followers included.
    pub dead: u64,
    /// Messages that wait behind a retrying one of their key.
    pub held: u64,
    /// Messages whose time had not come yet.
    pub delayed: u64,
    /// Publishes with an unknown outcome.
    pub unknown: u64,
    /// Settles that changed nothing, because another relay had taken the shard over.
    pub stale_settles: u64,
    /// Rows in those settles: published here, and possibly published again by the new owner.
    pub stale_rows: u64,
    /// Shards lost without having been handed over.
    pub leases_lost: u64,
    /// Fresh rows that became visible after a later one had been read.
    pub late_commits: u64,
    /// Times a circuit breaker opened.
    pub breaker_opened: u64,
    /// Claims and sweeps.
    pub reads: u64,
    /// Settles.
    pub settles: u64,
    /// Shards owned now.
    pub shards: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter),* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> RelayStats {
                RelayStats { $($name: self.$name.get()),* }
            }
        }
    };
}

counters!(
    delivered,
    retried,
    dead,
    held,
    delayed,
    unknown,
    stale_settles,
    stale_rows,
    leases_lost,
    late_commits,
    breaker_opened,
    reads,
    settles,
    shards,
);

/// A number that is only ever read for people.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
