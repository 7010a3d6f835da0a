use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use outbox_core::{ClaimRequest, ClaimSource, OutboxStore, Scope, Seq, ShardSet, TopicFilter, Wakeup};
use outbox_memory::{Engine, MemoryStore, Step};

use super::work::{count, message, numbers, once, pending, rival};

#[tokio::test]
async fn a_state_and_its_messages_are_committed_together() {
    let engine: Engine<String, u64> = Engine::new();
    assert_eq!((*engine.state("a"), engine.state("a").version()), (0, 0), "the default, before any commit");
    let committed = engine.run("a", |n: &u64| count("a")(n).returning("told")).await.unwrap();
    assert_eq!((*committed.state, committed.state.version()), (1, 1));
    assert_eq!((committed.output, committed.attempts), ("told", 1));
    assert_eq!((*engine.state("a"), engine.state("a").version()), (1, 1));
    assert_eq!(pending(&engine), [1]);
    assert_eq!((engine.len(), engine.is_empty()), (1, false));
}

#[tokio::test]
async fn a_state_that_was_read_never_changes() {
    let engine: Engine<String, u64> = Engine::new();
    let before = engine.run("a", count("a")).await.unwrap().state;
    engine.run("a", count("a")).await.unwrap();
    assert_eq!((*before, before.version()), (1, 1));
    assert_eq!((*engine.state("a"), engine.state("a").version()), (2, 2));
}

#[test]
fn a_stale_state_is_refused_with_everything_that_came_with_it() {
    let engine: Engine<String, u64> = Engine::new();
    let stale = engine.state("a");
    rival(&engine, "a");
    rival(&engine, "a");
    let conflict = engine.commit("a", &stale, count("a")(&stale)).unwrap_err();
    assert_eq!((conflict.key.as_str(), conflict.expected, conflict.found), ("\"a\"", 0, 2));
    assert!(conflict.to_string().starts_with("state \"a\" was read at version 0 and is now"), "{conflict}");
    assert_eq!((*engine.state("a"), engine.state("a").version()), (200, 2));
    assert!(pending(&engine).is_empty());
}

#[test]
fn the_state_of_another_key_is_refused() {
    let engine: Engine<String, u64> = Engine::new();
    let first = once(&engine, &"a".to_owned(), |_: &u64| Step::new(1)).state;
    once(&engine, &"b".to_owned(), |_: &u64| Step::new(2));
    let conflict = engine.commit("b", &first, count("b")(&first)).unwrap_err();
    assert_eq!((conflict.expected, conflict.found), (1, 1), "the same version, and yet another state");
    assert_eq!(*engine.state("b"), 2);
}

#[test]
fn a_key_that_was_removed_and_written_again_is_another_state() {
    let engine: Engine<String, u64> = Engine::new();
    let old = once(&engine, &"a".to_owned(), count("a")).state;
    engine.remove("a", &old).unwrap();
    assert!(engine.is_empty());
    assert_eq!(engine.commit("a", &old, count("a")(&old)).unwrap_err().found, 0, "there is none any more");
    let new = once(&engine, &"a".to_owned(), count("a")).state;
    assert_eq!(new.version(), old.version());
    assert!(engine.commit("a", &old, count("a")(&old)).is_err());
    assert!(engine.remove("a", &old).is_err());
    assert_eq!(pending(&engine), [1, 1], "what was committed stays in the outbox");
}

#[test]
fn keys_do_not_disturb_each_other() {
    let engine: Engine<String, u64> = Engine::new();
    let first = engine.state("a");
    rival(&engine, "b");
    engine.commit("a", &first, count("a")(&first)).unwrap();
    assert_eq!((*engine.state("a"), *engine.state("b")), (1, 100));
}

#[test]
fn engines_and_transactions_share_an_outbox() {
    let outbox = MemoryStore::new();
    let counters: Engine<String, u64> = Engine::on(outbox.clone());
    let names: Engine<u8, String> = Engine::on(outbox.clone());
    once(&counters, &"a".to_owned(), count("a"));
    once(&names, &7, |_: &String| Step::new("seven".to_owned()).add(message("b", 2)));
    outbox.enqueue_all(&[message("c", 3)]);
    assert_eq!(numbers(&outbox.pending()), [1, 2, 3]);
    assert_eq!((*counters.state("a"), names.state(&7).as_str()), (1, "seven"));
}

#[test]
fn a_commit_without_messages_wakes_nobody() {
    let engine: Engine<String, u64> = Engine::new();
    let before = engine.outbox().all_calls();
    let woken = woken_by(&engine, || rival(&engine, "a"));
    assert!(!woken, "there is nothing to deliver");
    assert!(woken_by(&engine, || drop(once(&engine, &"a".to_owned(), count("a")))));
    assert_eq!(engine.outbox().all_calls(), before, "a commit is no operation of a relay");
}

fn woken_by(engine: &Engine<String, u64>, act: impl FnOnce()) -> bool {
    let mut wakeup = engine.outbox().wakeup();
    act();
    let mut waiting = std::pin::pin!(wakeup.wait());
    waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Nobody sees a message whose state is not there yet, nor a state whose messages are not there yet.
#[test]
fn a_state_and_its_messages_appear_at_once() {
    const COMMITS: u64 = 20_000;
    let engine: Engine<String, u64> = Engine::new();
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = Reader::new(&engine);
            while reader.last < COMMITS {
                let sent = reader.read();
                let state = engine.state("a").version();
                assert!(sent <= state, "message {sent} was there before its state, which is at {state}");
                let sent = reader.read();
                assert!(sent >= state, "state {state} was there before its message; the last one is {sent}");
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..COMMITS {
            once(&engine, &"a".to_owned(), count("a"));
        }
    });
    assert!(looks.into_inner() > 0);
}

/// Reads the outbox forward, as a relay does.
struct Reader {
    outbox: MemoryStore,
    runtime: tokio::runtime::Runtime,
    cursor: Seq,
    last: u64,
}

impl Reader {
    fn new(engine: &Engine<String, u64>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { outbox: engine.outbox(), runtime, cursor: 0, last: 0 }
    }

    /// The number of the newest message.
    fn read(&mut self) -> u64 {
        let scope = Scope { shards: ShardSet::all(16), topics: TopicFilter::all() };
        let source = ClaimSource::Fresh { after: self.cursor };
        let request = ClaimRequest { scope, source, limit: usize::MAX, max_bytes: usize::MAX };
        let claim = self.runtime.block_on(self.outbox.claim(&request)).unwrap();
        let messages: Vec<_> = claim.rows.iter().map(|row| row.message.clone()).collect();
        if let (Some(row), Some(number)) = (claim.rows.last(), numbers(&messages).last()) {
            (self.cursor, self.last) = (row.seq, *number);
        }
        self.last
    }
}
