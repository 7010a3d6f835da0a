use outbox_relay::{BreakerState, DestinationStatus, RelayStatus};
use serde::Serialize;

use super::check::{Check, CheckState};
use super::schema::DatabaseState;

/// Whether the process can do its work, and why not: the body of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether everything that is required is well.
    pub ready: bool,
    /// The names of all checks that are not well, required or not.
    pub reasons: Vec<String>,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
}

impl Readiness {
    /// Of relays alone, where nobody looks at the database.
    #[cfg(feature = "config")]
    pub(crate) fn of_relays(relays: &[RelayStatus]) -> Self {
        Self::of(None, relays, false)
    }

    pub(super) fn of(
        database: Option<DatabaseState>,
        relays: &[RelayStatus],
        brokers_required: bool,
    ) -> Self {
        let mut checks: Vec<Check> = Vec::new();
        if let Some(DatabaseState { database, schema }) = database {
            checks.extend([database, schema]);
        }
        for relay in relays {
            checks.extend(of_relay(relay, brokers_required));
        }
        Self::from_checks(checks)
    }

    pub(super) fn from_checks(checks: Vec<Check>) -> Self {
        let failing = |check: &&Check| !check.is_ok();
        let reasons = checks.iter().filter(failing).map(|check| check.name.clone()).collect();
        let ready = !checks.iter().filter(failing).any(|check| check.required);
        Self { ready, reasons, checks }
    }
}

/// Whether the tasks of the relays live.
pub(super) fn liveness(relays: &[RelayStatus]) -> Vec<Check> {
    relays.iter().map(of_task).collect()
}

/// One that was told to stop is not ready, but it has not died.
fn of_task(relay: &RelayStatus) -> Check {
    let check = Check::ok_if("relay", relay.running || relay.stopping);
    if relay.running { check } else { check.detail("it has ended") }
}

fn of_relay(relay: &RelayStatus, brokers_required: bool) -> Vec<Check> {
    let running = Check::ok_if("relay", relay.running && !relay.stopping);
    let running = match (relay.running, relay.stopping) {
        (false, _) => running.detail("it has ended"),
        (true, true) => running.detail("it is stopping"),
        (true, false) => running,
    };
    let mut checks = vec![running];
    // What the relay has met with is known sooner than what the looks at intervals find.
    let store = Check::ok_if("relay's database", relay.store.is_none());
    checks.push(match &relay.store {
        Some(trouble) => store.trouble(trouble),
        None => store,
    });
    // Without a shard it stands by for the others, which is as it should be.
    let leases = relay.leases;
    let detail = match (leases.trusted, leases.shards) {
        (false, _) => "not renewed in time".to_owned(),
        (true, 0) => "standing by: other relays own all shards".to_owned(),
        (true, shards) => format!("{shards} of {} shards", leases.of),
    };
    checks.push(Check::ok_if("leases", leases.trusted).detail(detail));
    checks.extend(relay.destinations.iter().map(|destination| of_broker(destination, brokers_required)));
    checks
}

fn of_broker(destination: &DestinationStatus, required: bool) -> Check {
    let name = format!("broker {}", destination.name);
    let (state, detail) = match destination.breaker {
        BreakerState::Closed => (CheckState::Ok, "it takes messages"),
        _ => (CheckState::Failed, "not available; its messages wait in the outbox"),
    };
    let mut check = Check::new(name, state).required(required).detail(detail).since(destination.open_since);
    if !check.is_ok() {
        check.error = destination.last_error.as_ref().map(|trouble| trouble.error.clone());
    }
    check
}
