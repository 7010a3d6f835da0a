use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{
    DecodeError, Delivery, DeliverySource, MessageId, OutboxMessage, Receipt, SubscribeError,
    SubscribeErrorKind, Subscription, SubscriptionCapabilities, Undecodable,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::ledger::Ledger;
use super::plan::{Kind, Nature, Traits};

const TOPIC: &str = "orders.placed";

/// How long a settlement is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(2);

/// The queue of a group, or its part of a log.
pub(super) struct Broker {
    traits: Traits,
    ledger: Arc<Ledger>,
    queue: Mutex<Queue>,
    /// Something may be ready, or settled.
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    entries: BTreeMap<u64, Entry>,
    next_place: u64,
    next_delivery: u64,
    next_connection: u64,
    connections: BTreeSet<u64>,
    down: bool,
    /// Settlements to come that get lost: whether they are carried out before.
    lost: Vec<bool>,
}

struct Entry {
    message: OutboxMessage,
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting {
        not_before: Option<Instant>,
    },
    Held {
        delivery: u64,
        connection: u64,
        until: Option<Instant>,
    },
    /// It is remembered in a log, behind something that is not settled.
    Settled,
}

const READY: State = State::Waiting { not_before: None };

impl Broker {
    pub(super) fn new(traits: Traits, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { traits, ledger, queue: Mutex::default(), changed: Notify::new() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap()
    }

    pub(super) fn publish(&self, message: OutboxMessage) {
        let mut queue = self.queue();
        let place = queue.next_place;
        queue.next_place += 1;
        queue.entries.insert(place, Entry { message, attempt: 0, state: READY });
        drop(queue);
        self.changed.notify_waiters();
    }

    pub(super) fn set_down(&self, down: bool) {
        self.queue().down = down;
        if down {
            self.cut();
        }
        self.changed.notify_waiters();
    }

    /// Ends every connection.
    pub(super) fn cut(&self) {
        let connections = self.queue().connections.clone();
        connections.into_iter().for_each(|connection| self.end(connection));
        self.changed.notify_waiters();
    }

    fn end(&self, connection: u64) {
        self.queue().connections.remove(&connection);
        // With a time for each delivery, it is the time that counts.
        if let Kind::Timed(_) = self.traits.kind {
            self.ledger.delivers_again();
        } else {
            self.give_back(connection);
        }
    }

    /// The time of everything that is held has run out.
    pub(super) fn deliver_again(&self) {
        if !matches!(self.traits.kind, Kind::Timed(_)) {
            return self.cut();
        }
        self.ledger.delivers_again();
        for entry in self.queue().entries.values_mut() {
            if let State::Held { .. } = entry.state {
                entry.state = READY;
            }
        }
        self.changed.notify_waiters();
    }

    pub(super) fn lose(&self, count: usize, carried_out: bool) {
        self.queue().lost.extend(std::iter::repeat_n(carried_out, count));
    }

    pub(super) fn heal(&self) {
        let mut queue = self.queue();
        queue.down = false;
        queue.lost.clear();
    }

    /// Waits until nothing is unsettled.
    pub(super) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.queue().entries.is_empty() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn member(self: &Arc<Self>, number: usize) -> Member {
        Member {
            number,
            broker: Arc::clone(self),
            connection: None,
            room: Arc::new(Semaphore::new(self.traits.prefetch)),
            closed: false,
        }
    }

    fn connect(&self) -> u64 {
        let mut queue = self.queue();
        let connection = queue.next_connection;
        queue.next_connection += 1;
        queue.connections.insert(connection);
        if self.traits.kind == Kind::Log {
            // Read from the first that is not settled.
            queue.entries.values_mut().for_each(|entry| entry.state = READY);
        }
        connection
    }

    fn give_back(&self, connection: u64) {
        for entry in self.queue().entries.values_mut() {
            if matches!(entry.state, State::Held { connection: held, .. } if held == connection) {
                entry.state = READY;
            }
        }
    }

    /// What is ready for this connection, or when to look again.
    fn take(&self, connection: u64) -> Result<Taken, Option<Instant>> {
        let now = Instant::now();
        let mut guard = self.queue();
        let queue = &mut *guard;
        let delivery = queue.next_delivery;
        let mut next: Option<Instant> = None;
        for (place, entry) in &mut queue.entries {
            let due = match entry.state {
                State::Waiting { not_before } => not_before,
                State::Held { until: Some(until), .. } => Some(until),
                State::Held { until: None, .. } | State::Settled => continue,
            };
            if let Some(due) = due.filter(|due| *due > now) {
                next = Some(next.map_or(due, |next| next.min(due)));
                continue;
            }
            if let State::Held { .. } = entry.state {
                self.ledger.delivers_again();
            }
            let until = match self.traits.kind {
                Kind::Timed(time) => Some(now + time),
                Kind::Channel | Kind::Log => None,
            };
            entry.state = State::Held { delivery, connection, until };
            entry.attempt += 1;
            let taken =
                Taken { place: *place, delivery, attempt: entry.attempt, message: entry.message.clone() };
            queue.next_delivery += 1;
            return Ok(taken);
        }
        Err(next)
    }

    /// Carries out a settlement, or not.
    fn settle(&self, receipt: &MemberReceipt, how: &Settlement<'_>) -> Result<(), SubscribeError> {
        let mut queue = self.queue();
        let lost = || SubscribeError::new(SubscribeErrorKind::Unavailable, "the confirmation is lost");
        if queue.down {
            return Err(lost());
        }
        let (carried_out, confirmed) = match queue.lost.pop() {
            Some(carried_out) => (carried_out, false),
            None => (true, true),
        };
        if carried_out && !self.carry_out(&mut queue, receipt, how) {
            return Err(SubscribeError::new(SubscribeErrorKind::Stale, "its connection has ended"));
        }
        drop(queue);
        if !confirmed {
            // It was lost with its connection.
            self.end(receipt.connection);
        }
        self.changed.notify_waiters();
        if confirmed { Ok(()) } else { Err(lost()) }
    }

    /// `false` if it is too late.
    fn carry_out(&self, queue: &mut Queue, receipt: &MemberReceipt, how: &Settlement<'_>) -> bool {
        let connected = queue.connections.contains(&receipt.connection);
        let Some(entry) = queue.entries.get_mut(&receipt.place) else {
            // Somebody else has settled it.
            return matches!(self.traits.kind, Kind::Timed(_));
        };
        let holds = matches!(entry.state, State::Held { delivery, .. } if delivery == receipt.delivery);
        match self.traits.kind {
            Kind::Channel | Kind::Log if !(connected && holds) => return false,
            Kind::Timed(_) if !holds && matches!(how, Settlement::Nack(_)) => return true,
            _ => {}
        }
        let id = *entry.message.id();
        match how {
            Settlement::Ack => self.ledger.acknowledged(&id),
            Settlement::Dead(reason) => self.ledger.buried(&id, reason),
            Settlement::Nack(delay) => {
                self.ledger.handed_back(receipt.member, &id, delay.is_zero());
                let not_before = (!delay.is_zero()).then(|| Instant::now() + *delay);
                entry.state = State::Waiting { not_before };
                return true;
            }
        }
        if self.traits.kind == Kind::Log {
            entry.state = State::Settled;
            // As far as everything is settled, the group never looks back.
            while let Some(first) = queue.entries.first_entry()
                && matches!(first.get().state, State::Settled)
            {
                first.remove();
            }
        } else {
            queue.entries.remove(&receipt.place);
        }
        true
    }

    fn extend(&self, receipt: &MemberReceipt) -> Result<(), SubscribeError> {
        let Kind::Timed(time) = self.traits.kind else {
            return Ok(());
        };
        let mut queue = self.queue();
        let down = queue.down;
        match queue.entries.get_mut(&receipt.place).map(|entry| &mut entry.state) {
            Some(State::Held { delivery, until, .. }) if *delivery == receipt.delivery && !down => {
                *until = Some(Instant::now() + time);
                Ok(())
            }
            _ => Err(SubscribeError::new(SubscribeErrorKind::Stale, "it is too late")),
        }
    }
}

struct Taken {
    place: u64,
    delivery: u64,
    attempt: u32,
    message: OutboxMessage,
}

enum Settlement<'r> {
    Ack,
    Nack(Duration),
    Dead(&'r str),
}

/// A member of the group.
pub(super) struct Member {
    number: usize,
    broker: Arc<Broker>,
    connection: Option<u64>,
    room: Arc<Semaphore>,
    closed: bool,
}

impl Member {
    async fn connected(&mut self) -> Result<u64, SubscribeError> {
        let away = |text| Err(SubscribeError::new(SubscribeErrorKind::Unavailable, text));
        let connection = self.connection.filter(|known| self.broker.queue().connections.contains(known));
        if self.connection.is_some() && connection.is_none() {
            self.connection = None;
            return away("the connection has ended");
        }
        if let Some(connection) = connection {
            return Ok(connection);
        }
        if self.broker.queue().down {
            sleep(Duration::from_millis(700)).await;
            return away("the broker is down");
        }
        let connection = self.broker.connect();
        self.connection = Some(connection);
        Ok(connection)
    }

    fn leave(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.broker.queue().connections.remove(&connection);
            self.broker.give_back(connection);
            self.broker.changed.notify_waiters();
        }
    }
}

#[async_trait]
impl Subscription for Member {
    fn capabilities(&self) -> SubscriptionCapabilities {
        let Traits { kind, prefetch } = self.broker.traits;
        let capabilities = SubscriptionCapabilities::new("simulated").prefetch(prefetch);
        match kind {
            Kind::Channel => capabilities.counts_deliveries(true),
            Kind::Timed(time) => capabilities.counts_deliveries(true).redeliver_after(Some(time)),
            Kind::Log => capabilities.partitioned(true),
        }
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        if self.closed {
            return Err(SubscribeError::new(SubscribeErrorKind::Closed, "the subscription is closed"));
        }
        let room = Arc::clone(&self.room).acquire_owned().await.unwrap();
        loop {
            let broker = Arc::clone(&self.broker);
            let changed = broker.changed.notified();
            let connection = self.connected().await?;
            match self.broker.take(connection) {
                Ok(taken) => return Ok(self.deliver(taken, connection, room)),
                Err(Some(due)) => drop(timeout_at(due, changed).await),
                Err(None) => changed.await,
            }
        }
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        Ok(())
    }

    async fn close(&mut self, _: Duration) -> Result<(), SubscribeError> {
        self.closed = true;
        self.leave();
        Ok(())
    }
}

impl Member {
    fn deliver(&self, taken: Taken, connection: u64, room: OwnedSemaphorePermit) -> Delivery {
        let Taken { place, delivery, attempt, message } = taken;
        let id = *message.id();
        self.broker
            .ledger
            .note(|| format!("member {} receives {}, {attempt}", self.number, self.broker.ledger.name(&id)));
        let receipt = MemberReceipt {
            member: self.number,
            id,
            broker: Arc::clone(&self.broker),
            connection,
            place,
            delivery,
            _room: room,
        };
        let body = match self.broker.ledger.nature(&id) {
            Nature::Foreign => Err(Undecodable {
                topic: TOPIC.to_owned(),
                error: DecodeError::MissingId { header: "id" },
                payload: Bytes::new(),
            }),
            _ => Ok(message),
        };
        let log = self.broker.traits.kind == Kind::Log;
        let delivery = Delivery::new(body, (!log).then_some(attempt), Box::new(receipt));
        if log {
            delivery.from_source(DeliverySource { topic: TOPIC.into(), partition: 0, assignment: connection })
        } else {
            delivery
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The broker notices by the connection, or not at all.
        if !matches!(self.broker.traits.kind, Kind::Timed(_)) {
            self.leave();
        }
    }
}

struct MemberReceipt {
    member: usize,
    id: MessageId,
    broker: Arc<Broker>,
    connection: u64,
    place: u64,
    delivery: u64,
    /// Given back when the receipt is gone.
    _room: OwnedSemaphorePermit,
}

impl MemberReceipt {
    async fn settle(&self, how: Settlement<'_>) -> Result<(), SubscribeError> {
        sleep(ON_ITS_WAY).await;
        let settled = self.broker.settle(self, &how);
        let ledger = &self.broker.ledger;
        ledger.note(|| {
            let what = match how {
                Settlement::Ack => "acknowledges".to_owned(),
                Settlement::Nack(delay) => format!("hands back for {delay:?}"),
                Settlement::Dead(reason) => format!("gives up ({reason})"),
            };
            format!("member {} {what} {}: {settled:?}", self.member, ledger.name(&self.id))
        });
        settled
    }
}

#[async_trait]
impl Receipt for MemberReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        self.settle(Settlement::Ack).await
    }

    async fn nack(self: Box<Self>, delay: Duration) -> Result<(), SubscribeError> {
        self.settle(Settlement::Nack(delay)).await
    }

    async fn dead_letter(self: Box<Self>, reason: &str) -> Result<(), SubscribeError> {
        self.broker.ledger.given_up(self.member, &self.id);
        self.settle(Settlement::Dead(reason)).await?;
        self.broker.ledger.knows_it_is_buried(self.member, &self.id);
        Ok(())
    }

    async fn extend(&mut self) -> Result<(), SubscribeError> {
        self.broker.extend(self)
    }
}
