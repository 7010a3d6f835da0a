use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use outbox_core::{MessageId, OutboxMessage};
use outbox_memory::{Committed, Engine, MemoryTransport, Step};
use tokio::runtime::Handle;

use super::relay::relay;
use super::work::{message, numbers, once, quick};

const WORKERS: usize = 100;

/// Every message that any attempt made, and those that belong to a commit.
#[derive(Default)]
struct Ledger {
    made: Mutex<Vec<MessageId>>,
    committed: Mutex<Vec<MessageId>>,
    attempts: AtomicU32,
}

impl Ledger {
    /// Counts, and tells by which message.
    fn count(&self, key: usize, count: u64) -> Step<u64, MessageId> {
        let message = message(&format!("key-{key}"), count + 1);
        let id = *message.id();
        self.made.lock().unwrap().push(id);
        Step::new(count + 1).add(message).returning(id)
    }

    fn committed(&self, committed: &Committed<u64, MessageId>) {
        self.committed.lock().unwrap().push(committed.output);
        self.attempts.fetch_add(committed.attempts, Ordering::Relaxed);
    }

    /// Attempts that were lost.
    fn lost(&self) -> usize {
        self.made.lock().unwrap().len() - self.committed.lock().unwrap().len()
    }

    /// What is delivered are the messages of the commits, each once, and of each key its versions in order.
    fn check(&self, engine: &Engine<usize, u64>, keys: usize, commits: usize, delivered: &[OutboxMessage]) {
        let mut committed = self.committed.lock().unwrap().clone();
        let mut arrived: Vec<_> = delivered.iter().map(|message| *message.id()).collect();
        assert_eq!(committed.len(), commits);
        committed.sort_unstable();
        arrived.sort_unstable();
        assert!(arrived == committed, "{} arrived of {commits} commits", arrived.len());
        let made = self.made.lock().unwrap().len();
        assert_eq!(u32::try_from(made).unwrap(), self.attempts.load(Ordering::Relaxed));
        let mut by_key: HashMap<&str, Vec<OutboxMessage>> = HashMap::new();
        for message in delivered {
            by_key.entry(message.ordering_key().unwrap().as_str()).or_default().push(message.clone());
        }
        assert_eq!(by_key.len(), keys);
        for key in 0..keys {
            let state = engine.state(&key);
            assert_eq!(*state, state.version());
            assert_eq!(
                numbers(&by_key[format!("key-{key}").as_str()]),
                (1..=*state).collect::<Vec<_>>(),
                "key {key}: every version, without a gap, in order"
            );
        }
    }
}

/// Workers on a runtime of several threads, while a relay delivers.
async fn storm(keys: usize) {
    const EACH: usize = 100;
    let engine: Engine<usize, u64> = Engine::new();
    let broker = MemoryTransport::new();
    let relay = relay(&engine, &broker).await;
    let ledger = Arc::new(Ledger::default());
    let workers = (0..WORKERS).map(|worker| {
        let (engine, ledger) = (engine.clone(), Arc::clone(&ledger));
        tokio::spawn(async move {
            for commit in 0..EACH {
                let key = (worker + commit) % keys;
                let process = |count: &u64| {
                    let step = ledger.count(key, *count);
                    // So that others run between what was read and the swap.
                    std::thread::yield_now();
                    step
                };
                ledger.committed(&engine.run(&key, process).await.unwrap());
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    relay.drained().await.unwrap();
    relay.shutdown().await.unwrap();
    ledger.check(&engine, keys, WORKERS * EACH, &broker.delivered());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_hundred_workers_on_one_key_leave_no_phantom_and_no_gap() {
    storm(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_hundred_workers_on_sharded_keys_leave_no_phantom_and_no_gap() {
    storm(16).await;
}

/// The worst there is: all workers have read the same state before any of them may go on, again and again. One of them
/// commits, and the others take turns: no further attempt is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_workers_that_always_collide_leave_no_phantom_and_no_gap() {
    const ROUNDS: usize = 10;
    let engine = Engine::<usize, u64>::new().with_policy(quick(1_000));
    let broker = MemoryTransport::new();
    let relay = relay(&engine, &broker).await;
    let (ledger, begin, together) = (Ledger::default(), Barrier::new(WORKERS), Barrier::new(WORKERS));
    let runtime = Handle::current();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let first = std::cell::Cell::new(true);
                        // Nobody stands in line any more.
                        begin.wait();
                        let process = |count: &u64| {
                            if first.take() {
                                together.wait();
                            }
                            ledger.count(0, *count)
                        };
                        ledger.committed(&runtime.block_on(engine.run(&0, process)).unwrap());
                    }
                });
            }
        });
    });
    relay.drained().await.unwrap();
    relay.shutdown().await.unwrap();
    assert_eq!(ledger.lost(), (WORKERS - 1) * ROUNDS);
    ledger.check(&engine, 1, WORKERS * ROUNDS, &broker.delivered());
}

/// A worker that meets nobody waits for nobody, however hot another key is.
#[tokio::test(start_paused = true)]
async fn a_hot_key_delays_no_other() {
    let engine: Engine<usize, u64> = Engine::new();
    let begun = tokio::time::Instant::now();
    let hot = engine.run(&0, |count: &u64| {
        once(&engine, &0, |count: &u64| Step::new(count + 1));
        Step::new(count + 1)
    });
    let cold = async {
        for _ in 0..1_000 {
            engine.run(&1, |count: &u64| Step::new(count + 1)).await.unwrap();
        }
        begun.elapsed()
    };
    let (hot, cold) = tokio::join!(hot, cold);
    assert!(hot.is_err());
    assert_eq!((engine.state(&1).version(), cold), (1_000, Duration::ZERO));
}
