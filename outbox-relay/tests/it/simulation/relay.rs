use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outbox_core::{
    MessageId, OperatorAction, OutboxAdmin, OutboxMessage, OutboxStore, PublishErrorKind, Scope, ShardSet,
    TopicFilter, TransportCapabilities,
};
use outbox_memory::{MemoryStore, MemoryTransaction, MemoryTransport, Verdict};
use outbox_relay::{OnDead, Relay, RelayHandle};

use super::journal::Journal;
use super::script::{Fingerprint, Script, Simpler, Step, World, chance};
use crate::gate::{Closed, Gate};
use crate::harness::*;

/// Relays, producers, a database and a broker.
pub(super) struct RelayWorld;

/// Keys that may be written; the last ones stand for none.
const KEYS: usize = 12;
const KEYED: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Setup {
    shards: u8,
    pipelined_order: bool,
    max_batch: usize,
    max_in_flight: usize,
    latency: Duration,
    policy: OnDead,
    /// What the broker does with each message and try; `None` if it takes them all.
    temper: Option<u64>,
    /// Where ids come from: the shard of a message without a key depends on its id.
    ids: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Start(Knobs),
    /// The process of a relay dies.
    Kill(usize),
    /// A relay is shut down in the background.
    Stop(usize),
    /// A relay's calls stand still before they reach the database, or go on.
    Gate(usize, Closed),
    StoreDown,
    StoreUp,
    BrokerDown,
    BrokerUp,
    /// A transaction with messages of these keys.
    Write(Vec<usize>, Fate),
    /// A transaction that is open ends.
    End(usize, End),
    /// An operator asks for something about a message that is dead or was put aside.
    Ask(usize, OperatorAction),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Commit,
    Rollback,
    /// It stays open.
    Open,
}

/// How a transaction that was open ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Rollback,
    Commit,
    /// With a next message of each of its keys right after it, in a transaction of its own: who reads that one has to
    /// know of those before, wherever they stand in the table.
    CommitAndGoOn,
}

/// How a relay is configured.
#[derive(Debug, Clone)]
pub(super) struct Knobs {
    reply_latency: Duration,
    batch_size: usize,
    window_rows: usize,
    window_per_key: usize,
    max_held_keys: usize,
    concurrency: usize,
    seed: u64,
}

impl World for RelayWorld {
    const NAME: &'static str = "relay";
    type Setup = Setup;
    type Event = Event;

    fn imagine(random: &mut fastrand::Rng) -> Script<Setup, Event> {
        let setup = Setup {
            shards: 1 << random.u8(0..=4),
            pipelined_order: random.bool(),
            max_batch: random.usize(1..40),
            max_in_flight: random.usize(1..100),
            latency: Duration::from_millis(random.u64(0..30)),
            policy: [OnDead::Park, OnDead::Skip][random.usize(0..2)],
            temper: Some(random.u64(..)),
            ids: random.u64(..),
        };
        let step = |random: &mut fastrand::Rng| {
            let longest = [2500, 25][random.usize(0..2)];
            Step { event: event(random), pause: Duration::from_millis(random.u64(0..longest)) }
        };
        let steps = (0..120).map(|_| step(random)).collect();
        Script { setup, steps }
    }

    async fn play(script: &Script<Setup, Event>, journal: &Journal) -> Result<u64, String> {
        let mut stage = Stage::new(&script.setup, journal);
        for step in &script.steps {
            journal.note(|| format!("{:?}", step.event));
            stage.happens(&step.event).await;
            tokio::time::sleep(step.pause).await;
        }
        stage.end().await
    }
}

fn event(random: &mut fastrand::Rng) -> Event {
    match random.u8(0..28) {
        0 | 1 => Event::Start(knobs(random)),
        2 => Event::Kill(random.usize(0..3)),
        3 => Event::Stop(random.usize(0..3)),
        4 => {
            let what = [Closed::Settles, Closed::Everything, Closed::Nothing][random.usize(0..3)];
            Event::Gate(random.usize(0..3), what)
        }
        5 => Event::StoreDown,
        6..=8 => Event::StoreUp,
        9 => Event::BrokerDown,
        10..=12 => Event::BrokerUp,
        13..=15 => {
            let how = [End::Rollback, End::Commit, End::CommitAndGoOn][random.usize(0..3)];
            Event::End(random.usize(0..4), how)
        }
        16 | 17 => {
            let action = [OperatorAction::Replay, OperatorAction::Discard][random.usize(0..2)];
            Event::Ask(random.usize(0..8), action)
        }
        _ => {
            let keys: Vec<usize> = (0..random.usize(1..12)).map(|_| random.usize(0..KEYS)).collect();
            let fate = match random.u8(0..10) {
                0 => Fate::Rollback,
                1..=3 => Fate::Open,
                _ => Fate::Commit,
            };
            Event::Write(keys, fate)
        }
    }
}

fn knobs(random: &mut fastrand::Rng) -> Knobs {
    Knobs {
        reply_latency: Duration::from_millis(random.u64(0..20)),
        batch_size: random.usize(1..60),
        window_rows: random.usize(1..200),
        window_per_key: random.usize(1..50),
        max_held_keys: random.usize(1..12),
        concurrency: random.usize(1..5),
        seed: random.u64(..),
    }
}

impl Simpler for Setup {
    fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        if self.temper.is_some() {
            simpler.push(Self { temper: None, ..self.clone() });
        }
        if !self.latency.is_zero() {
            simpler.push(Self { latency: Duration::ZERO, ..self.clone() });
        }
        if self.shards > 1 {
            simpler.push(Self { shards: 1, ..self.clone() });
        }
        simpler
    }
}

impl Simpler for Event {
    fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Write(keys, fate) if keys.len() > 1 => {
                let (front, back) = keys.split_at(keys.len() / 2);
                vec![Self::Write(front.to_vec(), *fate), Self::Write(back.to_vec(), *fate)]
            }
            Self::Start(knobs) if !knobs.reply_latency.is_zero() => {
                vec![Self::Start(Knobs { reply_latency: Duration::ZERO, ..knobs.clone() })]
            }
            _ => Vec::new(),
        }
    }
}

/// A world under way.
struct Stage<'w> {
    setup: &'w Setup,
    store: MemoryStore,
    broker: MemoryTransport,
    calm: Arc<AtomicBool>,
    relays: Vec<(RelayHandle, Gate)>,
    open: Vec<Open>,
    committed: Vec<OutboxMessage>,
    /// Those that an operator wanted to be gone; they may have been delivered before.
    discarded: HashSet<MessageId>,
    /// The number of the last message of each key.
    last: [usize; KEYS],
    /// Messages made so far.
    made: u32,
}

/// A transaction under way.
struct Open {
    transaction: MemoryTransaction,
    messages: Vec<OutboxMessage>,
    keys: Vec<usize>,
}

impl<'w> Stage<'w> {
    fn new(setup: &'w Setup, journal: &Journal) -> Self {
        let capabilities = TransportCapabilities::new("random")
            .pipelined_order(setup.pipelined_order)
            .max_batch(setup.max_batch)
            .max_in_flight(setup.max_in_flight)
            .max_send_time(Duration::from_secs(1));
        let broker = MemoryTransport::new().with_capabilities(capabilities);
        broker.set_latency(setup.latency);
        let calm = Arc::new(AtomicBool::new(false));
        behave(&broker, setup.temper, &calm, journal);
        Self {
            setup,
            store: MemoryStore::with_shards(setup.shards),
            broker,
            calm,
            relays: Vec::new(),
            open: Vec::new(),
            committed: Vec::new(),
            discarded: HashSet::new(),
            last: [0; KEYS],
            made: 0,
        }
    }

    async fn happens(&mut self, event: &Event) {
        // What concerns a relay or a transaction that is not there is nothing: so any part of a script is a script.
        let relays = self.relays.len();
        match event {
            Event::Start(knobs) if relays < 3 => self.start(knobs).await,
            Event::Kill(which) if relays > 0 => self.relays.swap_remove(which % relays).0.abort(),
            Event::Stop(which) if relays > 1 => drop(self.relays.swap_remove(which % relays)),
            Event::Gate(which, what) if relays > 0 => self.relays[which % relays].1.close(*what),
            Event::StoreDown => self.store.down(),
            Event::StoreUp => self.store.up(),
            Event::BrokerDown => self.broker.down(),
            Event::BrokerUp => self.broker.up(),
            Event::Write(keys, fate) => self.write(keys, *fate),
            Event::End(which, how) if !self.open.is_empty() => {
                let Open { transaction, messages, keys } = self.open.swap_remove(which % self.open.len());
                if *how != End::Rollback {
                    transaction.commit();
                    self.committed.extend(messages);
                }
                if *how == End::CommitAndGoOn {
                    self.write(&keys, Fate::Commit);
                }
            }
            Event::Ask(which, action) => self.ask(*which, *action).await,
            _ => {}
        }
    }

    fn write(&mut self, keys: &[usize], fate: Fate) {
        // A key is written by one open transaction at a time: that is what its order is promised for.
        let locked = |key: &usize| *key < KEYED && self.open.iter().any(|open| open.keys.contains(key));
        let keys: Vec<usize> = keys.iter().copied().filter(|key| !locked(key)).collect();
        let mut transaction = self.store.begin();
        let messages: Vec<_> = keys.iter().map(|key| self.message(*key)).collect();
        for message in &messages {
            transaction.enqueue(message);
        }
        match fate {
            Fate::Commit => {
                transaction.commit();
                self.committed.extend(messages);
            }
            Fate::Rollback => transaction.rollback(),
            Fate::Open => self.open.push(Open { transaction, messages, keys }),
        }
    }

    async fn ask(&mut self, which: usize, action: OperatorAction) {
        let candidates = [self.store.dead(), self.store.deferred()].concat();
        if candidates.is_empty() {
            return;
        }
        let message = &candidates[which % candidates.len()];
        // Where the rest of a key went on, one that is replayed comes late, as asked for.
        let comes_late = self.setup.policy == OnDead::Skip && message.ordering_key().is_some();
        if action == OperatorAction::Replay && comes_late {
            return;
        }
        // The store may be away.
        let asked = self.store.request(&[*message.id()], action).await;
        if asked.is_ok() && action == OperatorAction::Discard {
            self.discarded.insert(*message.id());
        }
    }

    fn message(&mut self, key: usize) -> OutboxMessage {
        self.last[key] += 1;
        let message = if key < KEYED { keyed(&format!("k{key}"), self.last[key]) } else { unkeyed(0) };
        self.made += 1;
        let half = |nth| u128::from(chance(self.setup.ids, u128::from(self.made), nth));
        let mut parts = message.into_parts();
        parts.id = uuid::Uuid::from_u128(half(0) << 64 | half(1)).into();
        OutboxMessage::stored(parts)
    }

    async fn start(&mut self, knobs: &Knobs) {
        let mut gate = Gate::new(&self.store);
        gate.reply_latency = knobs.reply_latency;
        let relay = Relay::shared(Arc::new(gate.clone()), Arc::new(Connection(self.broker.clone())))
            .on_dead("*".parse().unwrap(), self.setup.policy)
            .seed(knobs.seed)
            .configure(|config| {
                // It would find in the end what a sweep should have found.
                config.backstop_interval = Duration::from_secs(24 * 3600);
                config.lease_ttl = Duration::from_secs(6);
                config.lease_margin = Duration::from_millis(500);
                config.publish_timeout = Duration::from_secs(2);
                config.batch_size = knobs.batch_size;
                config.window_rows = knobs.window_rows;
                config.window_per_key = knobs.window_per_key;
                config.max_held_keys = knobs.max_held_keys;
                config.concurrency = knobs.concurrency;
            });
        self.relays.push((relay.start().await.unwrap(), gate));
    }

    /// Whether nothing waits, and nothing that was asked for.
    async fn is_at_rest(&self) -> bool {
        let all = Scope { shards: ShardSet::all(self.setup.shards), topics: TopicFilter::default() };
        let asked = self.store.requests(&all, 1).await.unwrap();
        asked.is_empty() && self.store.pending().is_empty() && self.store.deferred().is_empty()
    }

    /// Everything works from now on. What was promised?
    async fn end(mut self) -> Result<u64, String> {
        self.calm.store(true, Ordering::Relaxed);
        self.store.up();
        self.broker.up();
        self.open.clear();
        self.relays.iter().for_each(|(_, gate)| gate.open());
        let knobs = knobs(&mut fastrand::Rng::with_seed(self.setup.ids));
        self.start(&knobs).await;
        let last = &self.relays.last().unwrap().0;
        let drained = async {
            last.drained().await.unwrap();
            // What is replayed is on its way back then.
            while !self.is_at_rest().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(2 * 3600), drained).await.is_err() {
            let stats: Vec<_> = self.relays.iter().map(|(relay, _)| relay.stats()).collect();
            let (pending, deferred) = (self.store.pending(), self.store.deferred());
            return Err(format!(
                "it does not drain: {stats:#?}\npending {pending:#?}\ndeferred {deferred:#?}"
            ));
        }
        let (delivered, dead) = (self.broker.delivered(), self.store.dead());
        let reached: HashSet<_> = delivered.iter().chain(&dead).map(|message| *message.id()).collect();
        let expected: HashSet<_> = self.committed.iter().map(|message| *message.id()).collect();
        let arrived = |message: &&OutboxMessage| {
            reached.contains(message.id()) || self.discarded.contains(message.id())
        };
        let lost: Vec<_> = self.committed.iter().filter(|message| !arrived(message)).map(name).collect();
        let phantom = reached.difference(&expected).count();
        if !lost.is_empty() || phantom > 0 {
            return Err(format!("{lost:?} are lost, {phantom} were never committed"));
        }
        in_order(&delivered)?;
        let mut history = Fingerprint::new();
        for message in delivered.iter().chain(&dead) {
            history.add(chance(0, message.id().as_uuid().as_u128(), 0));
        }
        Ok(history.value())
    }
}

/// Its key and its number within the key.
fn name(message: &OutboxMessage) -> String {
    let key = message.ordering_key().map_or("-", |key| key.as_str());
    format!("{key}/{}", number(message))
}

/// What the broker does with a message depends on the message and on how often it was tried.
fn behave(broker: &MemoryTransport, temper: Option<u64>, calm: &Arc<AtomicBool>, journal: &Journal) {
    let (calm, journal) = (Arc::clone(calm), journal.clone());
    broker.set_behaviour(move |message, nth| {
        let calm = calm.load(Ordering::Relaxed);
        let verdict = match temper.filter(|_| !calm) {
            None => Verdict::Accept,
            Some(temper) => match chance(temper, message.id().as_uuid().as_u128(), nth) % 1000 {
                0..30 => Verdict::Fail(PublishErrorKind::Retryable),
                30..34 => Verdict::Fail(PublishErrorKind::Rejected),
                34..44 => Verdict::Fail(PublishErrorKind::Unknown),
                44..60 => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
                60..64 => Verdict::Hang,
                64..70 => Verdict::Fail(PublishErrorKind::Unavailable),
                _ => Verdict::Accept,
            },
        };
        journal.note(|| format!("    {} reaches the broker, {nth}: {verdict:?}", name(message)));
        verdict
    });
}
