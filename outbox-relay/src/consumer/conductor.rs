use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use outbox_core::{
    Delivery, MessageHandler, MessageId, OrderingKey, OutboxMessage, Receipt, SubscribeError, Subscription,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::config::Order;
use super::error::ConsumerError;
use super::handle::{Command, Trouble};
use super::lanes::Lanes;
use super::suspects::Suspects;
use super::work::{Care, Ended, Item, Shared};

/// How long the broker may take to be told that what waits is still wanted.
const EXTEND_LIMIT: Duration = Duration::from_secs(5);

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
    /// The messages that are being tried.
    trying: Vec<MessageId>,
    /// What has come again while it is being tried.
    copies: Vec<Item>,
    /// What is to be tried with nothing else under way. Its lanes stand still.
    for_alone: VecDeque<Item>,
    /// One of these is running.
    alone: bool,
    settling: JoinSet<()>,
}

/// A try that has ended.
struct Tried {
    id: MessageId,
    key: Option<OrderingKey>,
    source: Option<outbox_core::DeliverySource>,
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
            trying: Vec::new(),
            copies: Vec::new(),
            for_alone: VecDeque::new(),
            alone: false,
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
        while !self.alone
            && self.for_alone.is_empty()
            && self.tries.len() < self.shared.config.concurrency
            && let Some(item) = self.lanes.pop()
        {
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
        if self.trying.contains(&id) {
            // A connection that was lost brings back what is still being tried, and has taken nothing down. It has its turn
            // after that try: two at a time would count for each other, and use up each other's tries.
            item.care = Care::None;
            self.copies.push(item);
            return;
        }
        self.trying.push(id);
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
        let (tries, suspect) = self.suspects.look(message.id(), attempt, source.as_ref());
        let key = self.key(&message);
        let care = if suspect { Care::Count } else { Care::None };
        let item = Item { message, receipt, source, tries, counted: false, care };
        if let Some(key) = &key
            && let Some(due) = self.lanes.blocked_until(key)
            && self.lanes.blocked() >= self.most_blocked
        {
            return self.hand_back(item, due.saturating_duration_since(Instant::now()));
        }
        self.lanes.push(key, item);
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
        if let Some(place) = self.trying.iter().position(|trying| *trying == id) {
            self.trying.swap_remove(place);
        }
        for copy in self.copies.extract_if(.., |copy| *copy.message.id() == id) {
            // Also one that has another key, by a mistake: its lane stands still until it has been tried.
            self.lanes.push(None, copy);
        }
        self.alone = false;
        match (ended, key) {
            (Ended::Settled { first }, key) => {
                if let Some(source) = source.filter(|_| first) {
                    self.suspects.survived(&source);
                }
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
        Ok(())
    }

    fn hand_back(&mut self, item: Item, pause: Duration) {
        self.shared.counters.handed_back.add(1);
        if item.care == Care::None {
            self.suspects.hand_back(*item.message.id(), item.tries);
        }
        let shared = Arc::clone(&self.shared);
        self.settling.spawn(async move { shared.settled(item.receipt.nack(pause).await) });
    }

    /// Tells the broker that what waits is still wanted.
    async fn keep_alive(&mut self) {
        let waiting = self.lanes.iter_mut().chain(&mut self.copies).chain(&mut self.for_alone);
        let extended = join_all(waiting.map(|item| item.receipt.extend()));
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
