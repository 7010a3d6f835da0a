//! What happens in a run, made from its seed and from nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::brokers::BrokerKind;
use crate::fault::Fault;
use crate::stores::StoreKind;

/// How many relays there are at most.
pub(crate) const RELAYS: usize = 2;
/// How long a lease lasts. Faults that are to outlast one last longer.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// A run: the same seed and the same choices make the same one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    pub(crate) transport: BrokerKind,
    pub(crate) relays: usize,
    /// How long there is work and trouble.
    pub(crate) seconds: u64,
    pub(crate) injections: Vec<Injection>,
    /// A defect that was built in, to see it caught.
    pub(crate) sabotage: Option<String>,
}

/// One fault.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Injection {
    /// After the start.
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    /// Which relay it is for, where it is for one.
    pub(crate) relay: usize,
    /// How long it lasts, where it lasts.
    pub(crate) lasts: Duration,
    /// How many bytes of an answer pass, where it is cut.
    pub(crate) bytes: u16,
}

/// What a run may be.
#[derive(Debug, Clone)]
pub(crate) struct Choices {
    pub(crate) store: StoreKind,
    pub(crate) transport: BrokerKind,
    /// The faults to choose from; none: all that are possible.
    pub(crate) faults: Vec<Fault>,
    pub(crate) relays: usize,
    pub(crate) seconds: u64,
    pub(crate) sabotage: Option<String>,
}

impl Plan {
    pub(crate) fn new(seed: u64, choices: &Choices) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let &Choices { store, transport, relays, seconds, .. } = choices;
        let faults = possible(choices);
        let mut injections = Vec::new();
        // The first one meets processes that work.
        let mut at = Duration::from_secs(2);
        let end = Duration::from_secs(seconds);
        while at < end && !faults.is_empty() {
            let fault = faults[random.usize(..faults.len())];
            injections.push(Injection {
                at,
                fault,
                relay: random.usize(..relays),
                lasts: lasts(fault, &mut random),
                bytes: random.u16(..2_000),
            });
            at += Duration::from_millis(random.u64(300..1_700));
        }
        Self { seed, store, transport, relays, seconds, injections, sabotage: choices.sabotage.clone() }
    }
}

impl Plan {
    /// Whether a transaction of a producer may fail for a reason that is not the library's.
    pub(crate) fn disturbs_producers(&self) -> bool {
        self.injections.iter().any(|injection| {
            let name = injection.fault.to_string();
            name.starts_with("producer") || name.starts_with("database")
        })
    }
}

/// The chosen faults that there are with this store and this broker.
fn possible(choices: &Choices) -> Vec<Fault> {
    let chosen = if choices.faults.is_empty() { &Fault::ALL[..] } else { &choices.faults };
    let is_possible = |fault: &&Fault| {
        (choices.store.is_a_server() || !fault.needs_a_database_server())
            && (choices.transport.remembers() || !fault.needs_a_broker_that_remembers())
            && (choices.transport.can_refuse() || !fault.needs_a_broker_that_refuses())
    };
    chosen.iter().filter(is_possible).copied().collect()
}

fn lasts(fault: Fault, random: &mut fastrand::Rng) -> Duration {
    let millis = match fault {
        Fault::RelayStop | Fault::RelayDatabaseHold => {
            let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
            random.u64(lease + 500..lease + 2_500)
        }
        Fault::RelayDatabaseHole
        | Fault::RelayBrokerHole
        | Fault::RelayBrokerHalf
        | Fault::ConsumerBrokerHole
        | Fault::BrokerFreeze => random.u64(300..4_000),
        // Much shorter than all tries of a message together: it is not to be given up.
        Fault::BrokerRefuse => random.u64(200..700),
        Fault::ProducerStop | Fault::ConsumerStop => random.u64(200..3_000),
        // How long it is away.
        _ => random.u64(50..1_500),
    };
    Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(store: StoreKind, transport: BrokerKind) -> Choices {
        Choices { store, transport, faults: Vec::new(), relays: RELAYS, seconds: 20, sabotage: None }
    }

    #[test]
    fn a_seed_makes_the_same_run_again_and_another_one_another() {
        let choices = choices(StoreKind::Postgres, BrokerKind::Nats);
        let text = |seed| serde_json::to_string(&Plan::new(seed, &choices)).unwrap();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn only_what_is_possible_is_planned() {
        for seed in 0..50 {
            let plan = Plan::new(seed, &choices(StoreKind::Sqlite, BrokerKind::Kafka));
            assert!(plan.injections.len() >= 8, "{}", plan.injections.len());
            let wrong = |injection: &Injection| {
                injection.fault.needs_a_database_server() || injection.fault == Fault::BrokerKill
            };
            assert!(!plan.injections.iter().any(wrong), "{plan:?}");
        }
        let none =
            Choices { faults: vec![Fault::DatabaseKill], ..choices(StoreKind::Sqlite, BrokerKind::Nats) };
        assert!(Plan::new(1, &none).injections.is_empty());
    }
}
