//! Random worlds. A seed makes a script: what happens, and how long nothing happens after it. The script is played in
//! paused time, against models in memory, and then what was promised is looked at. A script that breaks a promise is
//! shortened as long as it still does, and printed as a timeline.
//!
//! `cargo xtask sim` plays any number of them, on all cores; `OUTBOX_SIM_SEED`, `OUTBOX_SIM_WORLDS` and
//! `OUTBOX_SIM_THREADS` say the same to `cargo test`.

mod consumer;
mod journal;
mod relay;
mod script;
mod seeds;
mod shrink;

/// Relays come, go, die and freeze; the database goes away; the broker fails in every way it can; producers commit late
/// and roll back.
#[test]
fn whatever_happens_nothing_is_lost_made_up_or_out_of_order() {
    seeds::explore::<relay::RelayWorld>(150);
}

/// Consumers come, go and die; handlers fail, panic, hang and take the process down; the database of the inbox goes away
/// or loses its answers; the broker goes away, loses settlements, and delivers again what is still being handled.
#[test]
fn whatever_happens_every_effect_happens_once() {
    seeds::explore::<consumer::ConsumerWorld>(300);
}

#[test]
fn what_was_found_once_stays_away() {
    for (name, script) in consumer::found() {
        seeds::passes::<consumer::ConsumerWorld>(name, &script);
    }
}

/// Else no seed would be worth printing.
#[test]
fn a_seed_is_always_the_same_world() {
    for seed in 0..20 {
        assert_eq!(
            seeds::fingerprint::<relay::RelayWorld>(seed),
            seeds::fingerprint::<relay::RelayWorld>(seed)
        );
        let consumer = seeds::fingerprint::<consumer::ConsumerWorld>;
        assert_eq!(consumer(seed), consumer(seed), "seed {seed}");
    }
}
