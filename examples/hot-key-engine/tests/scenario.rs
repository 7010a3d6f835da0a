//! A hot key: nothing is lost, nothing is made up, and who does not get its turn is told so.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use hot_key_engine::{Commit, Report, Storm, count};
use outbox::TransactionPolicy;
use outbox::memory::{Engine, MemoryTransport, Process, RunError, Step};
use outbox::relay::Relay;
use tokio::runtime::Handle;
use tokio::time::Instant;

const WORKERS: usize = 100;

async fn storm(keys: usize) {
    let storm = Storm { workers: WORKERS, each: 64, keys };
    let engine = Engine::new();
    let report = storm.run(&engine).await.unwrap();
    report.verdict().unwrap();
    let commits = WORKERS * 64;
    assert_eq!((report.commits, report.delivered, report.phantoms), (commits, commits, 0));
    let versions: u64 = storm.versions(&engine).into_values().sum();
    assert_eq!(versions, u64::try_from(commits).unwrap(), "every commit is a version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn scenario_a_hundred_workers_on_one_key() {
    storm(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn scenario_a_hundred_workers_on_sharded_keys() {
    storm(16).await;
}

/// The worst case, not left to chance: all have read their state, and made their message, before anybody commits. So all
/// but one of each key are lost, and each of them has a message that must not arrive.
async fn collision(keys: usize) {
    let engine = Engine::<String, u64>::new().with_policy(patient());
    let broker = MemoryTransport::new();
    let relay =
        Relay::new(engine.outbox(), broker.clone()).wakeup(engine.outbox().wakeup()).start().await.unwrap();
    let (together, commits, runtime) =
        (Barrier::new(WORKERS), Mutex::new(Vec::<Commit>::new()), Handle::current());
    tokio::task::block_in_place(|| {
        std::thread::scope(|threads| {
            for worker in 0..WORKERS {
                let (engine, together, commits, runtime) = (&engine, &together, &commits, &runtime);
                threads.spawn(move || {
                    let key = format!("key-{}", worker % keys);
                    let (process, first) = (count(&key), Cell::new(true));
                    let process = |count: &u64| {
                        let step = process.decide(count);
                        if first.take() {
                            together.wait();
                        }
                        step
                    };
                    let committed = runtime.block_on(engine.run(&*key, process)).unwrap();
                    commits.lock().unwrap().push(committed.into());
                });
            }
        });
    });
    relay.drained().await.unwrap();
    relay.shutdown().await.unwrap();

    let report = Report::compare(&commits.into_inner().unwrap(), &broker.delivered()).unwrap();
    report.verdict().unwrap();
    assert_eq!((report.commits, report.delivered), (WORKERS, WORKERS));
    assert_eq!(
        report.lost_attempts,
        WORKERS - keys,
        "who has lost waits for its turn, and loses no second one"
    );
    let versions: HashMap<_, _> = Storm { workers: WORKERS, each: 1, keys }.versions(&engine);
    assert!(
        versions.values().all(|version| *version == u64::try_from(WORKERS / keys).unwrap()),
        "{versions:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_a_hundred_workers_that_all_collide_on_one_key() {
    collision(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scenario_a_hundred_workers_that_all_collide_on_sharded_keys() {
    collision(20).await;
}

/// On a machine with one busy core a hundred threads may take longer than the default allows.
fn patient() -> TransactionPolicy {
    TransactionPolicy::new().attempts(1_000).pauses(Duration::from_millis(1), Duration::from_millis(50))
}

/// A rival that is always faster. With the default policy the answer comes within 3 s, of a type that says what is busy;
/// nothing of the 20 attempts is in the outbox.
#[tokio::test(start_paused = true)]
async fn scenario_busy_is_an_error_of_its_own_and_comes_soon() {
    let engine: Engine<String, u64> = Engine::new();
    let process = count("hot");
    let begun = Instant::now();
    let outrun = engine.run("hot", |count: &u64| {
        // What no process may do: so the test knows that each attempt is lost.
        engine.commit("hot", &engine.state("hot"), Step::new(count + 1)).unwrap();
        process.decide(count)
    });
    let Err(RunError::Busy(busy)) = outrun.await else { panic!("somebody else has won every time") };
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!((&*busy.key, busy.attempts, busy.version), ("\"hot\"", 20, 20));
    assert!(busy.to_string().contains("spread what it holds over several keys"), "{busy}");
    assert!(engine.outbox().pending().is_empty(), "no message of a lost attempt");

    engine.run("hot", count("hot")).await.unwrap();
    assert_eq!((engine.state("hot").version(), engine.outbox().pending().len()), (21, 1));
}
