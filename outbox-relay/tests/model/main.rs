//! The protocol of leases and fenced settles, apart from all code that carries it out: every order in which two or three
//! relays, a database, a broker and a network can do things, with crashes, long pauses, leases that run out, publishes
//! and settles that arrive late. And what happens if one of its rules is left out, so that the model is known to see it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test states what it expects")]

mod database;
mod promises;
mod protocol;
mod relay;
mod world;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use protocol::{Budget, Protocol, Rule};

/// Nothing goes wrong, but for what is late.
const NOTHING: Budget = Budget { crashes: 0, pauses: 0, doubts: 0, timeouts: 0, failures: 0, releases: 0 };

/// Visits every state, and expects that nothing is promised in vain.
fn holds(name: &str, protocol: Protocol) {
    let begun = Instant::now();
    let checker = protocol.checker().threads(threads()).spawn_dfs().join();
    eprintln!(
        "{name}: {} states, {} of them different, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        begun.elapsed().as_secs_f64()
    );
    assert!(checker.is_done());
    checker.assert_properties();
}

/// Expects that a promise is broken without a rule, and shows how.
fn is_needed(rule: Rule, promise: &'static str, budget: Budget) {
    let protocol = Protocol { without: Some(rule), ..Protocol::of(2, 2, budget) };
    let finish = HasDiscoveries::AnyOf([promise].into());
    let checker = protocol.checker().threads(threads()).finish_when(finish).spawn_bfs().join();
    let discovery = checker.discovery(promise);
    let path = discovery.unwrap_or_else(|| panic!("{promise:?} holds without {rule:?}"));
    let actions: Vec<String> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
    eprintln!(
        "without {rule:?}, {promise:?} is broken after {} states:\n  {}",
        checker.unique_state_count(),
        actions.join("\n  ")
    );
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[test]
fn a_crash_breaks_no_promise() {
    holds("2 relays, 2 messages, crash", Protocol::of(2, 2, Budget { crashes: 1, failures: 1, ..NOTHING }));
}

#[test]
fn a_pause_breaks_no_promise() {
    holds("2 relays, 2 messages, pause", Protocol::of(2, 2, Budget { pauses: 1, failures: 1, ..NOTHING }));
}

#[test]
fn a_lease_that_is_not_renewed_breaks_no_promise() {
    let budget = Budget { doubts: 1, timeouts: 1, failures: 1, ..NOTHING };
    holds("2 relays, 2 messages, doubt, time-out", Protocol::of(2, 2, budget));
}

#[test]
#[ignore = "minutes: cargo xtask sim model"]
fn two_relays_keep_every_promise() {
    holds("2 relays, 2 messages, everything", Protocol::of(2, 2, Budget::one_of_each()));
}

#[test]
#[ignore = "minutes: cargo xtask sim model"]
fn three_messages_keep_every_promise() {
    let budget = Budget { crashes: 1, pauses: 1, failures: 1, ..NOTHING };
    holds("2 relays, 3 messages, crash, pause", Protocol::of(2, 3, budget));
}

#[test]
#[ignore = "minutes: cargo xtask sim model"]
fn three_relays_keep_every_promise() {
    let budget = Budget { crashes: 1, pauses: 1, failures: 1, ..NOTHING };
    holds("3 relays, 2 messages, crash, pause", Protocol::of(3, 2, budget));
}

#[test]
fn without_the_epoch_a_stale_settle_goes_through() {
    let budget = Budget { doubts: 1, failures: 1, ..NOTHING };
    is_needed(Rule::SettlesAreFenced, promises::STALE_SETTLES_ARE_REFUSED, budget);
}

#[test]
fn without_the_epoch_two_owners_settle() {
    let budget = Budget { doubts: 1, failures: 1, ..NOTHING };
    is_needed(Rule::SettlesAreFenced, promises::ONE_OWNER_SETTLES, budget);
}

#[test]
fn by_the_clock_of_the_relay_two_relays_trust_the_same_lease() {
    is_needed(Rule::LeasesAreByTheDatabasesClock, promises::ONE_RELAY_TRUSTS_ITS_LEASE, NOTHING);
}

#[test]
fn who_settles_before_the_broker_has_confirmed_loses_messages() {
    is_needed(Rule::SettledIsWhatWasConfirmed, promises::NOTHING_IS_LOST, NOTHING);
}

#[test]
fn a_successor_that_does_not_look_for_holds_overtakes_them() {
    let budget = Budget { failures: 1, ..NOTHING };
    is_needed(Rule::HoldsAreReadFirst, promises::FIRST_DELIVERIES_ARE_IN_ORDER, budget);
}

#[test]
fn who_sends_the_next_of_a_key_after_an_unknown_outcome_overtakes() {
    let budget = Budget { timeouts: 1, ..NOTHING };
    is_needed(Rule::AnUnknownOutcomeHoldsTheKey, promises::FIRST_DELIVERIES_ARE_IN_ORDER, budget);
}

#[test]
fn leases_that_never_run_out_leave_messages_behind() {
    let budget = Budget { crashes: 1, ..NOTHING };
    is_needed(Rule::LeasesRunOut, promises::EVERYTHING_IS_DELIVERED, budget);
}
