//! Metrics, by the facade of the crate `metrics`: any exporter takes them, and without one they cost next to nothing.
//!
//! [`names`] has every name, its unit, labels and help. The recorder is asked once per batch, settle or change, never
//! per message, and is looked up each time, so an exporter may also be installed after the relay has started. A consumer
//! tells its counts once a second; only how long a handler took is told for each.
//!
//! * **Counters** count what has happened: a confirmation when it has come, a retry or a dead letter when it is written.
//! * **Gauges of a relay** are set when they change, and with every renewal of the leases; the circuit breaker of a
//!   publisher when it changes, and every few seconds while something is published.
//! * **Gauges of the table** ([`StatsSampler`]) are read by a task of its own. They keep their last value while the
//!   database is away; [`names::STATS_AGE_SECONDS`] says how old it is.
//! * **One relay per process** is what the gauges of a relay without a label are for; of several the last one shows.
//! * **Ages**: [`names::COMMIT_TO_ACK_SECONDS`] compares two clocks. What is known of their difference is taken into
//!   account and is a metric too ([`names::DATABASE_CLOCK_AHEAD_SECONDS`]).

mod calls;
mod clock;
mod labels;
pub mod names;
mod report;
mod sampler;
mod tally;
mod topics;

pub(crate) use calls::Calls;
pub use labels::{EXPECTED, IN_PROCESS, OTHER_TOPICS, Path};
pub(crate) use report::{Figures, SharedFigures, leases, store_up, wakeups};
pub use report::{describe, published};
pub use sampler::{RunningSampler, Sample, StatsSampler};
pub(crate) use tally::{BatchTally, SettleTally};
pub use topics::TopicLabels;
