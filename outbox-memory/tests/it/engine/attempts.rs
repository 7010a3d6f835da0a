use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use outbox_core::TransactionPolicy;
use outbox_memory::{Busy, Engine, RunError, Step};
use tokio::time::{Instant, timeout};

use super::work::{count, message, pending, rival};

/// Loses its first attempt. The message of that attempt is a phantom if anybody ever sees it.
#[tokio::test(start_paused = true)]
async fn a_conflict_starts_afresh() {
    let engine: Engine<String, u64> = Engine::new();
    let seen = Mutex::new(Vec::new());
    let process = |n: &u64| {
        seen.lock().unwrap().push(*n);
        let step = Step::new(n + 1).add(message("a", 1_000 + n));
        if *n == 0 {
            rival(&engine, "a");
        }
        step.add(message("a", 2_000 + n))
    };
    let committed = engine.run("a", process).await.unwrap();
    assert_eq!((*committed.state, committed.state.version(), committed.attempts), (101, 2, 2));
    assert_eq!(*seen.lock().unwrap(), [0, 100]);
    assert_eq!(pending(&engine), [1_100, 2_100], "of the second attempt only");
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("refused")]
struct Refused;

#[tokio::test]
async fn a_process_that_fails_after_adding_leaves_nothing() {
    let engine: Engine<String, u64> = Engine::new();
    let calls = AtomicU32::new(0);
    let process = |n: &u64| {
        calls.fetch_add(1, Ordering::Relaxed);
        let step = Step::new(n + 1).add(message("a", 1)).add(message("a", 2));
        if step.messages().len() == 2 { Err(Refused) } else { Ok(step) }
    };
    let error = engine.run("a", process).await.unwrap_err();
    assert!(matches!(error, RunError::Process(Refused)), "{error}");
    assert_eq!(error.to_string(), "the process failed: refused");
    assert_eq!(calls.into_inner(), 1, "its own failure is no conflict");
    assert!(engine.is_empty());
    assert!(pending(&engine).is_empty());
}

#[tokio::test]
async fn a_process_that_panics_leaves_nothing() {
    let engine: Engine<String, u64> = Engine::new();
    engine.run("a", count("a")).await.unwrap();
    let running = tokio::spawn({
        let engine = engine.clone();
        async move {
            let process = |n: &u64| -> Step<u64> {
                let step = Step::new(n + 1).add(message("a", 13));
                panic!("on purpose, with {} message", step.messages().len());
            };
            engine.run("a", process).await.map(drop)
        }
    });
    assert!(running.await.unwrap_err().is_panic());
    assert_eq!((*engine.state("a"), pending(&engine)), (1, vec![1]));
    engine.run("a", count("a")).await.unwrap();
    assert_eq!((*engine.state("a"), pending(&engine)), (2, vec![1, 2]), "the engine goes on");
}

/// A key that is written to all the time ends in an error that says so, soon, and not in a stall.
#[tokio::test(start_paused = true)]
async fn a_process_that_always_loses_is_told_that_the_key_is_busy() {
    let engine: Engine<String, u64> = Engine::new();
    let calls = AtomicU32::new(0);
    let losing = |n: &u64| {
        calls.fetch_add(1, Ordering::Relaxed);
        rival(&engine, "hot");
        count("hot")(n)
    };
    let begun = Instant::now();
    let error = engine.run("hot", losing).await.unwrap_err();
    let RunError::Busy(busy) = error else { panic!("{error}") };
    let Busy { key, attempts, version, .. } = &busy;
    assert_eq!((key.as_str(), *attempts, *version), ("\"hot\"", 20, 20));
    assert!(
        busy.to_string().starts_with("state \"hot\" is busy: it is at version 20 after 20 lost"),
        "{busy}"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 20);
    let (least, most) = (Duration::from_millis(712), Duration::from_millis(1_500));
    assert!((least..most).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(pending(&engine).is_empty());
    engine.run("cold", count("cold")).await.unwrap();
}

#[tokio::test]
async fn one_attempt_is_one_call() {
    let engine: Engine<String, u64> = Engine::new();
    let impatient = engine.clone().with_policy(TransactionPolicy::new().attempts(1));
    let losing = |n: &u64| {
        rival(&engine, "a");
        count("a")(n)
    };
    let error = impatient.run("a", losing).await.unwrap_err();
    assert!(matches!(&error, RunError::Busy(busy) if busy.attempts == 1), "{error}");
    assert_eq!(*engine.state("a"), 100, "the handles have one state");
}

/// Who has lost once is served before those who come later, and gives up its place when it gives up.
#[tokio::test(start_paused = true)]
async fn those_who_lost_take_turns() {
    let engine: Engine<String, u64> = Engine::new();
    let [tenth, second, minute] = [100, 1_000, 60_000].map(Duration::from_millis);
    let policy = TransactionPolicy::new();
    let patient = engine.clone().with_policy(policy.clone().attempts(3).pauses(second, second));
    let impatient = engine.clone().with_policy(policy.clone().attempts(2).pauses(tenth, tenth));
    let at_once = engine.clone().with_policy(policy.attempts(1));
    let losing = |n: &u64| {
        rival(&engine, "a");
        count("a")(n)
    };
    let order = Mutex::new(Vec::new());
    let run = async |who: &'static str| {
        let told = |n: &u64| {
            order.lock().unwrap().push(who);
            count("a")(n)
        };
        patient.run("a", told).await
    };
    let (lost, first, second, late, at_once) = tokio::join!(
        patient.run("a", losing),
        async { timeout(minute, run("first")).await.unwrap() },
        async { timeout(minute, run("second")).await.unwrap() },
        impatient.run("a", |_: &u64| -> Step<u64> { panic!("it is not its turn") }),
        at_once.run("a", |n: &u64| Step::new(*n)),
    );
    assert_eq!(at_once.unwrap().attempts, 1, "who would not wait at all does not stand in line");
    let lost = lost.unwrap_err();
    assert!(matches!(&lost, RunError::Busy(busy) if busy.attempts == 3), "{lost}");
    let late = late.unwrap_err();
    assert!(matches!(&late, RunError::Busy(busy) if busy.attempts == 0), "{late}");
    assert_eq!((first.unwrap().attempts, second.unwrap().attempts), (1, 1));
    assert_eq!(order.into_inner().unwrap(), ["first", "second"]);
    assert_eq!((*engine.state("a"), pending(&engine)), (302, vec![301, 302]));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_between_attempts_leaves_nothing() {
    let engine: Engine<String, u64> = Engine::new();
    let minute = Duration::from_secs(60);
    let slow = engine.clone().with_policy(TransactionPolicy::new().pauses(minute, minute));
    let losing = |n: &u64| {
        rival(&engine, "a");
        count("a")(n)
    };
    assert!(timeout(Duration::from_secs(1), slow.run("a", losing)).await.is_err());
    tokio::time::sleep(2 * minute).await;
    assert_eq!((*engine.state("a"), pending(&engine)), (200, Vec::new()), "of two attempts, the rivals only");
}

/// A task that only runs processes would never let go of its thread.
#[tokio::test]
async fn a_worker_without_a_pause_lets_others_work() {
    let engine: Engine<String, u64> = Engine::new();
    let enough = AtomicBool::new(false);
    let worker = async {
        while !enough.load(Ordering::Relaxed) {
            engine.run("a", count("a")).await.unwrap();
            assert!(*engine.state("a") < 1_000_000, "nobody else is let in");
        }
    };
    let other = async { enough.store(true, Ordering::Relaxed) };
    tokio::join!(worker, other);
}
