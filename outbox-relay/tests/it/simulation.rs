use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishErrorKind, TransportCapabilities};
use outbox_memory::{MemoryStore, MemoryTransport, Verdict};
use outbox_relay::{OnDead, Relay, RelayHandle};

use crate::gate::{Closed, Gate};
use crate::harness::*;

/// One random world: relays come, go, die and freeze; the database goes away; the broker fails in every way it can;
/// producers commit late and roll back. In the end everything committed is delivered or dead, nothing else is, and
/// every key is in order.
async fn world(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = MemoryStore::with_shards(1 << random.u8(0..=4));
    let capabilities = TransportCapabilities::new("random")
        .pipelined_order(random.bool())
        .max_batch(random.usize(1..40))
        .max_in_flight(random.usize(1..100))
        .max_send_time(Duration::from_secs(1));
    let broker = MemoryTransport::new().with_capabilities(capabilities);
    broker.set_latency(Duration::from_millis(random.u64(0..30)));
    let calm = Arc::new(AtomicBool::new(false));
    script(&broker, random.fork(), Arc::clone(&calm));

    let policy = [OnDead::Park, OnDead::Skip][random.usize(0..2)];
    let mut relays: Vec<(RelayHandle, Gate)> = Vec::new();
    let mut committed: Vec<OutboxMessage> = Vec::new();
    let mut open = Vec::new();
    let mut next = [0_usize; 12];
    for _ in 0..120 {
        match random.u8(0..24) {
            0 | 1 if relays.len() < 3 => relays.push(relay(&store, &broker, policy, &mut random).await),
            2 if !relays.is_empty() => {
                let (relay, _) = relays.swap_remove(random.usize(0..relays.len()));
                relay.abort();
            }
            3 if relays.len() > 1 => drop(relays.swap_remove(0)),
            4 if !relays.is_empty() => {
                let what = [Closed::Settles, Closed::Everything, Closed::Nothing][random.usize(0..3)];
                relays[random.usize(0..relays.len())].1.close(what);
            }
            5 => store.down(),
            6..=8 => store.up(),
            9 => broker.down(),
            10..=12 => broker.up(),
            13 if !open.is_empty() => {
                let (transaction, messages): (outbox_memory::MemoryTransaction, Vec<OutboxMessage>) =
                    open.swap_remove(random.usize(0..open.len()));
                if random.bool() {
                    transaction.commit();
                    committed.extend(messages);
                }
            }
            _ => {
                let mut transaction = store.begin();
                let mut messages = Vec::new();
                for _ in 0..random.usize(1..12) {
                    // A key is written by one open transaction at a time: that is what its order is promised for.
                    let key = random.usize(0..12);
                    let message = if key < 8 {
                        next[key] += 1;
                        keyed(&format!("k{key}"), next[key])
                    } else {
                        unkeyed(0)
                    };
                    let message = with_id(message, random.u128(..));
                    transaction.enqueue(&message);
                    messages.push(message);
                }
                let late = messages.iter().all(|message| message.ordering_key().is_none());
                if late && random.bool() {
                    open.push((transaction, messages));
                } else if random.u8(0..10) == 0 {
                    transaction.rollback();
                } else {
                    transaction.commit();
                    committed.extend(messages);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..2500))).await;
    }
    calm.store(true, Ordering::Relaxed);
    store.up();
    broker.up();
    drop(open);
    relays.iter().for_each(|(_, gate)| gate.open());
    relays.push(relay(&store, &broker, policy, &mut random).await);
    let last = &relays.last().unwrap().0;
    if tokio::time::timeout(Duration::from_secs(2 * 3600), last.drained()).await.is_err() {
        let stats: Vec<_> = relays.iter().map(|(relay, _)| relay.stats()).collect();
        let pending = store.pending();
        let deferred = store.deferred();
        panic!("it does not drain: {stats:#?}\npending {pending:#?}\ndeferred {deferred:#?}");
    }

    let delivered = broker.delivered();
    let dead = store.dead();
    let reached: HashSet<_> = delivered.iter().chain(&dead).map(|message| *message.id()).collect();
    let expected: HashSet<_> = committed.iter().map(|message| *message.id()).collect();
    let lost = expected.difference(&reached).count();
    let phantom = reached.difference(&expected).count();
    assert_eq!((lost, phantom), (0, 0), "lost and phantom");
    assert_in_order(&delivered);
}

/// An id from the seed, since the shard of a message without a key depends on it.
fn with_id(message: OutboxMessage, id: u128) -> OutboxMessage {
    let mut parts = message.into_parts();
    parts.id = uuid::Uuid::from_u128(id).into();
    OutboxMessage::stored(parts)
}

async fn relay(
    store: &MemoryStore,
    broker: &MemoryTransport,
    policy: OnDead,
    random: &mut fastrand::Rng,
) -> (RelayHandle, Gate) {
    let mut gate = Gate::new(store);
    gate.reply_latency = Duration::from_millis(random.u64(0..20));
    let relay = Relay::shared(Arc::new(gate.clone()), Arc::new(Connection(broker.clone())))
        .on_dead("*".parse().unwrap(), policy)
        .seed(random.u64(..))
        .configure(|config| {
            config.lease_ttl = Duration::from_secs(6);
            config.lease_margin = Duration::from_millis(500);
            config.publish_timeout = Duration::from_secs(2);
            config.batch_size = random.usize(1..60);
            config.window_rows = random.usize(1..200);
            config.window_per_key = random.usize(1..50);
            config.max_held_keys = random.usize(1..12);
            config.concurrency = random.usize(1..5);
        });
    (relay.start().await.unwrap(), gate)
}

fn script(broker: &MemoryTransport, random: fastrand::Rng, calm: Arc<AtomicBool>) {
    let random = std::sync::Mutex::new(random);
    broker.set_behaviour(move |_, _| {
        if calm.load(Ordering::Relaxed) {
            return Verdict::Accept;
        }
        match random.lock().unwrap().u16(0..1000) {
            0..30 => Verdict::Fail(PublishErrorKind::Retryable),
            30..34 => Verdict::Fail(PublishErrorKind::Rejected),
            34..44 => Verdict::Fail(PublishErrorKind::Unknown),
            44..60 => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
            60..64 => Verdict::Hang,
            64..70 => Verdict::Fail(PublishErrorKind::Unavailable),
            _ => Verdict::Accept,
        }
    });
}

/// Runs worlds from `OUTBOX_SIM_SEED` on (0 by default), `OUTBOX_SIM_WORLDS` of them.
#[test]
fn whatever_happens_nothing_is_lost_made_up_or_out_of_order() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first: u64 = number("OUTBOX_SIM_SEED", 0);
    let worlds: u64 = number("OUTBOX_SIM_WORLDS", 150);
    for seed in first..first + worlds {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(world(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("to see it again: OUTBOX_SIM_SEED={seed} OUTBOX_SIM_WORLDS=1");
            std::panic::resume_unwind(panic);
        }
    }
}
