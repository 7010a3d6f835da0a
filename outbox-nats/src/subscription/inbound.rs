use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, Subject};
use outbox_core::SubscribeError;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a member has been given and has not settled: what waits here to be handed out, and what its user holds.
#[derive(Debug)]
pub(crate) struct Inbound {
    state: Mutex<State>,
    /// Something can be handed out, or receiving has ended.
    pub(crate) arrived: Notify,
    /// Something was settled, so more may be asked for.
    pub(crate) room: Notify,
    /// A settlement has ended.
    pub(crate) settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arrival>,
    held: HashMap<u64, Held>,
    /// Waiting and held, by topic.
    taken: Vec<usize>,
    waiting_of: Vec<usize>,
    serial: u64,
    settling: usize,
    round: u64,
    ended: Option<SubscribeError>,
}

/// A message that waits to be handed out.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) topic: usize,
    pub(crate) message: Message,
    pub(crate) reply: Subject,
    pub(crate) attempt: u32,
    pub(crate) ack_wait: Duration,
    /// Since when the broker waits for a word about it.
    pub(crate) since: Instant,
}

#[derive(Debug)]
struct Held {
    topic: usize,
    reply: Subject,
    ack_wait: Duration,
    /// When the broker takes it back.
    until: Instant,
    /// Nobody holds it any more, and it was not settled: it is the broker's when its time has run out.
    dropped: bool,
}

impl Inbound {
    pub(crate) fn new(topics: usize) -> Self {
        let state = State { taken: vec![0; topics], waiting_of: vec![0; topics], ..State::default() };
        let (arrived, room, settled) = Default::default();
        Self { state: Mutex::new(state), arrived, room, settled }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, arrival: Arrival) {
        let mut state = self.state();
        state.taken[arrival.topic] += 1;
        state.waiting_of[arrival.topic] += 1;
        state.waiting.push_back(arrival);
        drop(state);
        self.arrived.notify_one();
    }

    /// The next one, if fewer than `most` are held.
    pub(crate) fn hand_out(&self, most: usize) -> Option<(u64, Arrival)> {
        let mut state = self.state();
        if state.held.len() >= most {
            return None;
        }
        let arrival = state.waiting.pop_front()?;
        state.waiting_of[arrival.topic] -= 1;
        state.serial += 1;
        let (serial, reply) = (state.serial, arrival.reply.clone());
        let held = Held {
            topic: arrival.topic,
            reply,
            ack_wait: arrival.ack_wait,
            until: arrival.since + arrival.ack_wait,
            dropped: false,
        };
        state.held.insert(serial, held);
        Some((serial, arrival))
    }

    /// How many of a topic are taken, and how many of them are waiting.
    pub(crate) fn taken(&self, topic: usize) -> (usize, usize) {
        let state = self.state();
        (state.taken[topic], state.waiting_of[topic])
    }

    /// It is settled, or was handed back.
    pub(crate) fn forget(&self, serial: u64) {
        let mut state = self.state();
        if let Some(held) = state.held.remove(&serial) {
            state.taken[held.topic] -= 1;
        }
        drop(state);
        self.room.notify_one();
        self.arrived.notify_one();
    }

    /// Nobody holds it any more.
    pub(crate) fn drop_held(&self, serial: u64) {
        if let Some(held) = self.state().held.get_mut(&serial) {
            held.dropped = true;
        }
    }

    /// The broker's time for it has begun anew.
    pub(crate) fn extend(&self, serial: u64) {
        if let Some(held) = self.state().held.get_mut(&serial) {
            held.until = Instant::now() + held.ack_wait;
        }
    }

    /// Forgets what was dropped and is the broker's again, and returns where to say that those that wait are still
    /// wanted: it is time for that when a third of their time has passed.
    pub(crate) fn tend(&self, now: Instant) -> Vec<Subject> {
        let mut state = self.state();
        let state = &mut *state;
        let before = state.held.len();
        let taken = &mut state.taken;
        state.held.retain(|_, held| {
            let gone = held.dropped && held.until <= now;
            if gone {
                taken[held.topic] -= 1;
            }
            !gone
        });
        if state.held.len() < before {
            self.room.notify_one();
            self.arrived.notify_one();
        }
        let tired = |arrival: &&mut Arrival| arrival.since + arrival.ack_wait / 3 <= now;
        let refreshed = state.waiting.iter_mut().filter(tired);
        refreshed
            .map(|arrival| {
                arrival.since = now;
                arrival.reply.clone()
            })
            .collect()
    }

    /// Receiving begins anew. Whatever an earlier round says from now on is of no interest.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.round += 1;
        state.ended = None;
        state.round
    }

    /// Receiving has ended, in this round.
    pub(crate) fn end(&self, round: u64, reason: SubscribeError) {
        let mut state = self.state();
        if state.round == round {
            state.ended = Some(reason);
            drop(state);
            self.arrived.notify_one();
        }
    }

    pub(crate) fn ended(&self) -> Option<SubscribeError> {
        self.state().ended.take()
    }

    /// Counts a settlement that is under way, until the guard is dropped.
    pub(crate) fn settling(&self) -> Settling<'_> {
        self.state().settling += 1;
        Settling(self)
    }

    /// Waits until no settlement is under way.
    pub(crate) async fn quiet(&self) {
        while self.state().settling > 0 {
            self.settled.notified().await;
        }
    }

    /// Everything that is not settled and not yet the broker's again.
    pub(crate) fn take_all(&self) -> Vec<Subject> {
        let mut state = self.state();
        let now = Instant::now();
        let held = mem::take(&mut state.held).into_values().filter(|held| held.until > now);
        let held: Vec<Subject> = held.map(|held| held.reply).collect();
        let waiting = mem::take(&mut state.waiting).into_iter().map(|arrival| arrival.reply);
        waiting.chain(held).collect()
    }
}

pub(crate) struct Settling<'a>(&'a Inbound);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.state().settling -= 1;
        self.0.settled.notify_one();
    }
}
