use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use outbox_core::{
    Delivery, DeliverySource, MessageHandler, MessageId, OrderingKey, OutboxMessage, Receipt, SubscribeError,
    Subscription,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::config::Order;
use super::error::ConsumerError;
use super::handle::{Command, Trouble};
use super::lanes::Lanes;
use super::remembered::Remembered;
use super::suspects::Suspects;
use super::work::{Care, Ended, Item, Shared};

/// How long the broker may take to be told that what waits is still wanted.
const EXTEND_LIMIT: Duration = Duration::from_secs(5);

/// When a copy comes again for which there is no room while its message waits.
const COPY_PAUSE: Duration = Duration::from_secs(60);

/// Receives, and decides which message is handled when. One task has all of it, so that nothing needs a lock; each try
/// runs in a task of its own.
pub(super) struct Conductor<H> {
    shared: Arc<Shared<H>>,
    subscription: Box<dyn Subscription>,
    command: watch::Receiver<Command>,
    trouble: Trouble,
    lanes: Lanes<Item>,
    suspects: Suspects,
    /// Items of lanes that may wait for a time.
    most_blocked: usize,
    tries: JoinSet<Tried>,
    /// The messages that wait or are being tried, each of them in one place.
    here: HashSet<MessageId>,
    /// Further copies of these. Each of them has its turn when the one before it is done with: two at a time would count
    /// for each other, and use up each other's tries.
    copies: Vec<Item>,
    /// What is to be tried with nothing else under way. Its lanes stand still.
    for_alone: VecDeque<Item>,
    /// One of these is running.
    alone: bool,
    /// Turns of others that come before the next of these: of what waited when the last of them had ended.
    round: usize,
    /// What was given up and could not be moved to the dead letters, and why it was given up.
    unburied: Remembered<String>,
    settling: JoinSet<()>,
}

/// A try that has ended.
struct Tried {
    id: MessageId,
    key: Option<OrderingKey>,
    source: Option<DeliverySource>,
    ended: Ended,
}

impl<H: MessageHandler> Conductor<H> {
    pub(super) fn new(
        shared: Arc<Shared<H>>,
        subscription: Box<dyn Subscription>,
        command: watch::Receiver<Command>,
        trouble: Trouble,
    ) -> Self {
        let prefetch = subscription.capabilities().prefetch;
        Self {
            shared,
            subscription,
            command,
            trouble,
            lanes: Lanes::new(),
            suspects: Suspects::new(prefetch),
            most_blocked: (prefetch / 2).max(1),
            tries: JoinSet::new(),
            here: HashSet::new(),
            copies: Vec::new(),
            for_alone: VecDeque::new(),
            alone: false,
            round: 0,
            unburied: Remembered::new(),
            settling: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), ConsumerError> {
        let mut keep_alive = self.shared.keep_alive.map(interval);
        if let Some(keep_alive) = &mut keep_alive {
            keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let command = *self.command.borrow_and_update();
            match command {
                Command::Stop => return self.stop().await,
                Command::Pause => {}
                Command::Run => self.begin_tries(),
            }
            self.shared.counters.running.set(self.tries.len());
            let waiting = self.lanes.waiting() + self.copies.len() + self.for_alone.len();
            self.shared.counters.waiting.set(waiting);
            let (due, running) = (self.lanes.next_due(), command == Command::Run);
            let tick = async {
                match &mut keep_alive {
                    Some(keep_alive) => keep_alive.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.command.changed() => {
                    if changed.is_err() {
                        return self.stop().await;
                    }
                }
                Some(tried) = self.tries.join_next() => self.tried(tried)?,
                Some(_) = self.settling.join_next() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.lanes.wake(Instant::now());
                }
                _ = tick => self.keep_alive().await,
                received = self.subscription.next(), if running => self.received(received),
            }
        }
    }

    fn begin_tries(&mut self) {
        // An earlier try that was counted and has not ended may just have failed: many of these, each as long as a handler
        // may take, must not keep out all others.
        while !self.alone
            && (self.for_alone.is_empty() || self.round > 0)
            && self.tries.len() < self.shared.config.concurrency
            && let Some(item) = self.lanes.pop()
        {
            self.round = self.round.saturating_sub(1);
            if item.care == Care::Alone {
                // Its try could not be counted before, and so was none.
                self.for_alone.push_back(item);
            } else {
                self.begin(item);
            }
        }
        if self.tries.is_empty()
            && let Some(item) = self.for_alone.pop_front()
        {
            self.shared.counters.alone.add(1);
            self.alone = true;
            self.begin(item);
        }
    }

    fn begin(&mut self, mut item: Item) {
        let (id, key, source) = (*item.message.id(), self.key(&item.message), item.source.clone());
        item.given_up = self.unburied.get(&id).cloned();
        let shared = Arc::clone(&self.shared);
        self.tries.spawn(async move {
            let ended = AssertUnwindSafe(shared.work(item)).catch_unwind().await.unwrap_or_else(|_| {
                // Not its handler, whose panics are caught before. It was not settled, and so it comes again.
                tracing::error!(consumer = %shared.name, "a panic outside of any handler: a message is left unsettled");
                Ended::Settled { first: false }
            });
            Tried { id, key, source, ended }
        });
    }

    fn key(&self, message: &OutboxMessage) -> Option<OrderingKey> {
        match self.shared.config.order {
            Order::PerKey => message.ordering_key().cloned(),
            Order::None => None,
        }
    }

    fn received(&mut self, received: Result<Delivery, SubscribeError>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let delivery = match received {
            Ok(delivery) => {
                if trouble.take().is_some() {
                    tracing::info!(consumer = %self.shared.name, "receiving again");
                }
                delivery
            }
            Err(error) => {
                self.shared.counters.receive_errors.add(1);
                let text = error.to_string();
                if trouble.as_ref() != Some(&text) {
                    tracing::warn!(consumer = %self.shared.name, "receiving nothing: {text}");
                    *trouble = Some(text);
                }
                return;
            }
        };
        drop(trouble);
        self.shared.counters.received.add(1);
        let (attempt, source) = (delivery.attempt(), delivery.source().cloned());
        let (message, receipt) = delivery.into_parts();
        let message = match self.shared.admit(message) {
            Ok(message) => message,
            Err(reason) => return self.refuse(receipt, reason),
        };
        if attempt == Some(1) {
            // Somebody has sent it in again, and wants it to be tried.
            self.unburied.remove(message.id());
        }
        let expected = self.suspects.is_handed_back(message.id());
        let (tries, care) = self.suspects.look(message.id(), attempt, source.as_ref());
        let key = self.key(&message);
        let item = Item {
            message,
            receipt,
            attempt,
            source,
            tries,
            counted: false,
            care,
            ahead: false,
            given_up: None,
        };
        if !self.here.insert(*item.message.id()) {
            return self.received_again(item, expected);
        }
        if let Some(key) = &key
            && let Some(due) = self.lanes.blocked_until(key)
            && self.lanes.blocked() >= self.most_blocked
        {
            return self.hand_back(item, due.saturating_duration_since(Instant::now()));
        }
        self.lanes.push(key, item);
    }

    /// It waits here, or is being tried. A connection that was lost brings back what it had brought, and has taken nothing
    /// down.
    fn received_again(&mut self, mut item: Item, expected: bool) {
        if expected {
            // It was handed back as a copy, and stands for itself.
            item.attempt = None;
        }
        if let Some(older) = self.waiting().find(|older| item.replaces(older)) {
            return older.take_over(item);
        }
        item.care = Care::None;
        self.copies.push(item);
        self.make_room();
    }

    /// What is being tried may come again once each. Beyond that, copies take the room of what waits for a time.
    fn make_room(&mut self) {
        while self.copies.len() + self.lanes.blocked() > self.most_blocked + self.tries.len()
            && let Some(copy) = self.copies.pop()
        {
            self.nack(copy, COPY_PAUSE);
        }
    }

    /// A message is done with here. The next copy of it has its turn.
    fn leaves(&mut self, id: &MessageId) {
        self.here.remove(id);
        if let Some(place) = self.copies.iter().position(|copy| copy.message.id() == id) {
            let copy = self.copies.remove(place);
            self.here.insert(*id);
            self.lanes.push(self.key(&copy.message), copy);
        }
    }

    /// What stays here goes on with the delivery that came while it was being tried, if its own was lost.
    fn stays(&mut self, mut item: Item) -> Item {
        for newer in self.copies.extract_if(.., |copy| copy.replaces(&item)).collect::<Vec<_>>() {
            item.take_over(newer);
        }
        item
    }

    fn refuse(&mut self, receipt: Box<dyn Receipt>, reason: String) {
        let shared = Arc::clone(&self.shared);
        tracing::error!(consumer = %shared.name, "to the dead letters: {reason}");
        self.settling.spawn(async move {
            let buried = receipt.dead_letter(&reason).await;
            if buried.is_ok() {
                shared.counters.dead.add(1);
            }
            shared.settled(buried);
        });
    }

    fn tried(&mut self, tried: Result<Tried, JoinError>) -> Result<(), ConsumerError> {
        let Tried { id, key, source, ended } = tried.map_err(|_| ConsumerError::Panicked)?;
        let ended = match ended {
            Ended::Again(item, pause) => Ended::Again(self.stays(item), pause),
            Ended::Alone(item) => Ended::Alone(self.stays(item)),
            ended => ended,
        };
        let was_alone = std::mem::take(&mut self.alone);
        self.ended(id, key, source, ended);
        self.make_room();
        if was_alone {
            self.round = self.lanes.ready();
        }
        Ok(())
    }

    fn ended(
        &mut self,
        id: MessageId,
        key: Option<OrderingKey>,
        source: Option<DeliverySource>,
        ended: Ended,
    ) {
        match (ended, key) {
            (Ended::Settled { first }, key) => {
                self.unburied.remove(&id);
                self.leaves(&id);
                if let Some(source) = source.filter(|_| first) {
                    self.suspects.survived(&source);
                }
                if let Some(key) = key {
                    self.lanes.done(&key);
                }
            }
            (Ended::Unburied(reason), key) => {
                self.unburied.insert(id, reason);
                self.leaves(&id);
                if let Some(key) = key {
                    self.lanes.done(&key);
                }
            }
            (Ended::Alone(item), _) => self.for_alone.push_back(item),
            (Ended::Again(item, pause), Some(key)) if self.lanes.blocked() < self.most_blocked => {
                self.lanes.again(&key, item, Instant::now() + pause);
                while self.lanes.blocked() > self.most_blocked
                    && let Some(newest) = self.lanes.pop_newest(&key)
                {
                    self.hand_back(newest, pause);
                }
            }
            (Ended::Again(item, pause), None) if self.lanes.blocked() < self.most_blocked => {
                self.lanes.later(item, Instant::now() + pause);
            }
            (Ended::Again(item, pause), key) => {
                self.hand_back(item, pause);
                // Its followers would overtake it.
                let followers = key.map(|key| self.lanes.clear(&key));
                for follower in followers.into_iter().flatten() {
                    self.hand_back(follower, pause);
                }
            }
        }
    }

    /// With all its copies: one that stayed would be tried meanwhile.
    fn hand_back(&mut self, item: Item, pause: Duration) {
        let id = *item.message.id();
        self.here.remove(&id);
        self.nack(item, pause);
        for copy in self.copies.extract_if(.., |copy| *copy.message.id() == id).collect::<Vec<_>>() {
            self.nack(copy, pause);
        }
    }

    fn nack(&mut self, item: Item, pause: Duration) {
        self.shared.counters.handed_back.add(1);
        self.suspects.hand_back(*item.message.id(), item.tries, item.care);
        let shared = Arc::clone(&self.shared);
        self.settling.spawn(async move { shared.settled(item.receipt.nack(pause).await) });
    }

    fn waiting(&mut self) -> impl Iterator<Item = &mut Item> {
        self.lanes.iter_mut().chain(&mut self.copies).chain(&mut self.for_alone)
    }

    /// Tells the broker that what waits is still wanted.
    async fn keep_alive(&mut self) {
        let extended = join_all(self.waiting().map(|item| item.receipt.extend()));
        // Who is not told in time gives the message to somebody else, and the inbox knows what to do.
        let _ = timeout(EXTEND_LIMIT, extended).await;
    }

    async fn stop(mut self) -> Result<(), ConsumerError> {
        let deadline = Instant::now() + self.shared.config.shutdown_timeout;
        // What nobody has begun with stays where it is until closing the subscription gives it back: the room that it would
        // leave would be filled with more, delivered for nothing.
        let ended = tokio::time::timeout_at(deadline, async {
            while let Some(tried) = self.tries.join_next().await {
                match tried {
                    // Its followers come again at once, too.
                    Ok(Tried { ended: Ended::Again(item, _), key: Some(_), .. }) => {
                        self.hand_back(item, Duration::ZERO);
                    }
                    Ok(Tried { ended: Ended::Again(item, pause), .. }) => self.hand_back(item, pause),
                    Ok(Tried { ended: Ended::Alone(item), .. }) => self.for_alone.push_back(item),
                    _ => {}
                }
            }
            while self.settling.join_next().await.is_some() {}
        });
        let in_time = ended.await.is_ok();
        let unfinished = self.tries.len();
        // Not waited for: code that blocks can't be stopped.
        self.tries.abort_all();
        self.shared.counters.running.set(0);
        self.shared.counters.waiting.set(0);
        // There is always a moment for what can be sent at once.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let closed = self.subscription.close(left).await;
        if !in_time && unfinished > 0 {
            return Err(ConsumerError::ShutdownTimedOut { unfinished });
        }
        Ok(closed?)
    }
}
