use crate::database::{Database, Outcome, Row};
use crate::protocol::{Budget, Protocol, Rule};
use crate::relay::{Entry, Memory, Relay};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) relays: Vec<Relay>,
    /// Publishes that the network has, also those that nobody waits for any more. Sorted: it may take them in any order.
    pub(crate) publishes: Vec<Publish>,
    /// Settles that the network has, also those of processes that are gone. Sorted, too.
    pub(crate) settles: Vec<Settle>,
    /// What the broker has accepted, in the order of the first deliveries.
    pub(crate) accepted: Vec<u8>,
    pub(crate) left: Budget,
    /// The highest epoch in which a settle has changed anything.
    pub(crate) settled: u8,
    pub(crate) seen: Seen,
}

/// What there was to see in the last event. Kept no longer, or every state would exist once for each memory of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) stale_settle_applied: bool,
    pub(crate) stale_settle_refused: bool,
    pub(crate) settled_by_former_owner: bool,
    /// A publish has arrived after somebody else had taken the shard over.
    pub(crate) late_publish: bool,
    pub(crate) second_delivery: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Publish {
    relay: u8,
    life: u8,
    epoch: u8,
    message: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Settle {
    relay: u8,
    life: u8,
    epoch: u8,
    outcomes: Vec<(Entry, Outcome)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A producer commits the next message.
    Commit,
    /// The lease of the shard runs out, by the database's clock.
    Expire,
    Acquire(u8),
    Renew(u8),
    /// By its own clock, the relay's lease is over.
    Doubt(u8),
    Release(u8),
    Read(u8),
    Send(u8),
    /// The publish of this place in the network arrives, and is accepted and confirmed.
    Accept(usize),
    /// It arrives, and is refused for now.
    Refuse(usize),
    /// The relay gives up waiting for an answer.
    TimeOut(u8),
    Settle(u8),
    /// The settle of this place in the network arrives, and is answered.
    CarryOut(usize),
    Crash(u8),
    Restart(u8),
    Pause(u8),
    Resume(u8),
}

impl World {
    /// All rows are gone, and nothing is under way: there is nothing more to see.
    pub(crate) fn is_over(&self) -> bool {
        self.database.rows.iter().all(|row| *row == Row::Gone)
    }

    pub(crate) fn what_may_happen(&self, protocol: &Protocol, events: &mut Vec<Event>) {
        for (place, publish) in self.publishes.iter().enumerate() {
            events.push(Event::Accept(place));
            if self.left.failures > 0 && self.is_awaited(publish) {
                events.push(Event::Refuse(place));
            }
        }
        events.extend((0..self.settles.len()).map(Event::CarryOut));
        if self.is_over() {
            return;
        }
        if self.database.rows.contains(&Row::Uncommitted) {
            events.push(Event::Commit);
        }
        if self.may_expire(protocol) {
            events.push(Event::Expire);
        }
        for (number, relay) in (0..).zip(&self.relays) {
            self.relay_may(number, relay, protocol, events);
        }
    }

    fn relay_may(&self, number: u8, relay: &Relay, protocol: &Protocol, events: &mut Vec<Event>) {
        if relay.crashed {
            return events.push(Event::Restart(number));
        }
        if self.left.crashes > 0 {
            events.push(Event::Crash(number));
        }
        if relay.paused {
            return events.push(Event::Resume(number));
        }
        // Who has nothing has nothing to lose by a pause.
        if self.left.pauses > 0 && relay.lease.is_some() {
            events.push(Event::Pause(number));
        }
        let memory = &relay.memory;
        if relay.lease.is_none() && self.database.is_free() {
            events.push(Event::Acquire(number));
        }
        if relay.lease.is_some() && !relay.trusts {
            events.push(Event::Renew(number));
        }
        if self.left.doubts > 0 && relay.trusts {
            events.push(Event::Doubt(number));
        }
        if self.left.releases > 0 && relay.lease.is_some() && memory.is_at_rest() {
            events.push(Event::Release(number));
        }
        if relay.works() && memory.is_at_rest() && self.read(protocol) != Memory::default() {
            events.push(Event::Read(number));
        }
        if relay.works() && memory.flight.is_none() && !memory.queue.is_empty() {
            events.push(Event::Send(number));
        }
        if self.left.timeouts > 0 && memory.flight.is_some() {
            events.push(Event::TimeOut(number));
        }
        if relay.lease.is_some() && !memory.settling && !memory.decided.is_empty() {
            events.push(Event::Settle(number));
        }
    }

    fn may_expire(&self, protocol: &Protocol) -> bool {
        let Some(owner) = self.database.owner.filter(|_| !self.database.expired) else {
            return false;
        };
        if !protocol.follows(Rule::LeasesRunOut) {
            return false;
        }
        // An owner that runs renews its lease, or stops trusting it before it runs out.
        let owner = &self.relays[usize::from(owner)];
        let trusted = owner.works() && owner.lease == Some(self.database.epoch);
        !trusted || !protocol.follows(Rule::LeasesAreByTheDatabasesClock)
    }

    /// What a relay finds that has nothing in memory.
    fn read(&self, protocol: &Protocol) -> Memory {
        let entries =
            |wanted: Row| self.database.of(wanted).map(move |message| Entry { message, seen: wanted });
        let fresh = entries(Row::Fresh);
        let mut memory = Memory::default();
        if self.database.of(Row::Retrying).next().is_some() && protocol.follows(Rule::HoldsAreReadFirst) {
            // One that is tried again holds its key: what is fresh joins those that wait.
            memory.queue = entries(Row::Retrying).collect();
            memory.decided = fresh.map(|entry| (entry, Outcome::Hold)).collect();
        } else if protocol.follows(Rule::HoldsAreReadFirst) {
            memory.queue = entries(Row::Held).chain(fresh).collect();
            memory.queue.sort_by_key(|entry| entry.message);
        } else {
            memory.queue = fresh.chain(entries(Row::Retrying)).chain(entries(Row::Held)).collect();
        }
        memory
    }

    /// Somebody still waits for the answer.
    fn is_awaited(&self, publish: &Publish) -> bool {
        let relay = &self.relays[usize::from(publish.relay)];
        let flight = relay.memory.flight.map(|entry| entry.message);
        !relay.crashed && relay.life == publish.life && flight == Some(publish.message)
    }

    pub(crate) fn happens(&mut self, protocol: &Protocol, event: Event) {
        self.seen = Seen::default();
        match event {
            Event::Commit => {
                let next = self.database.rows.iter_mut().find(|row| **row == Row::Uncommitted);
                *next.unwrap() = Row::Fresh;
            }
            Event::Expire => self.database.expired = true,
            Event::Acquire(number) => {
                let epoch = self.database.acquire(number);
                let relay = self.relay(number);
                relay.lease = Some(epoch);
                relay.trusts = true;
            }
            Event::Renew(number) => {
                let owns = self.database.owner == Some(number)
                    && self.relays[usize::from(number)].lease == Some(self.database.epoch);
                if owns {
                    self.database.expired = false;
                    self.relay(number).trusts = true;
                } else {
                    self.relay(number).loses_lease();
                }
            }
            Event::Doubt(number) => {
                self.left.doubts -= 1;
                self.relay(number).trusts = false;
            }
            Event::Release(number) => {
                self.left.releases -= 1;
                if self.database.owner == Some(number)
                    && self.relays[usize::from(number)].lease == Some(self.database.epoch)
                {
                    self.database.owner = None;
                }
                self.relay(number).loses_lease();
            }
            Event::Read(number) => self.relay(number).memory = self.read(protocol),
            Event::Send(number) => self.send(number, protocol),
            Event::Accept(place) => self.accept(place),
            Event::Refuse(place) => self.refuse(place),
            Event::TimeOut(number) => self.time_out(number, protocol),
            Event::Settle(number) => self.settle(number),
            Event::CarryOut(place) => self.carry_out(place, protocol),
            Event::Crash(number) => {
                self.left.crashes -= 1;
                let life = self.relay(number).life;
                *self.relay(number) = Relay { life, crashed: true, ..Relay::default() };
            }
            Event::Restart(number) => {
                let relay = self.relay(number);
                relay.crashed = false;
                relay.life += 1;
            }
            Event::Pause(number) => {
                self.left.pauses -= 1;
                self.relay(number).paused = true;
            }
            Event::Resume(number) => {
                // Its clock has gone on: if the lease has run out by the database's clock, it has by its own.
                let over = self.database.expired
                    || self.relays[usize::from(number)].lease != Some(self.database.epoch);
                let relay = self.relay(number);
                relay.paused = false;
                if over && protocol.follows(Rule::LeasesAreByTheDatabasesClock) {
                    relay.trusts = false;
                }
            }
        }
    }

    fn relay(&mut self, number: u8) -> &mut Relay {
        &mut self.relays[usize::from(number)]
    }

    fn send(&mut self, number: u8, protocol: &Protocol) {
        let relay = self.relay(number);
        let entry = relay.memory.queue.remove(0);
        let publish =
            Publish { relay: number, life: relay.life, epoch: relay.lease.unwrap(), message: entry.message };
        if protocol.follows(Rule::SettledIsWhatWasConfirmed) {
            relay.memory.flight = Some(entry);
        } else {
            relay.memory.decided.push((entry, Outcome::Delivered));
        }
        self.publishes.push(publish);
        self.publishes.sort();
    }

    fn accept(&mut self, place: usize) {
        let publish = self.publishes.remove(place);
        self.seen.late_publish = publish.epoch < self.database.epoch;
        self.seen.second_delivery = self.accepted.contains(&publish.message);
        if !self.seen.second_delivery {
            self.accepted.push(publish.message);
        }
        if self.is_awaited(&publish) {
            let memory = &mut self.relay(publish.relay).memory;
            let entry = memory.flight.take().unwrap();
            memory.decided.push((entry, Outcome::Delivered));
        }
    }

    fn refuse(&mut self, place: usize) {
        let publish = self.publishes.remove(place);
        self.left.failures -= 1;
        let memory = &mut self.relay(publish.relay).memory;
        let entry = memory.flight.take().unwrap();
        memory.decided.push((entry, Outcome::Retry));
        // What is behind it waits for it.
        let behind = std::mem::take(&mut memory.queue);
        memory.decided.extend(behind.into_iter().map(|entry| (entry, Outcome::Hold)));
    }

    fn time_out(&mut self, number: u8, protocol: &Protocol) {
        self.left.timeouts -= 1;
        let memory = &mut self.relay(number).memory;
        let entry = memory.flight.take().unwrap();
        // The same again, before anything else of its key.
        let place =
            if protocol.follows(Rule::AnUnknownOutcomeHoldsTheKey) { 0 } else { memory.queue.len().min(1) };
        memory.queue.insert(place, entry);
    }

    fn settle(&mut self, number: u8) {
        let relay = self.relay(number);
        let outcomes = std::mem::take(&mut relay.memory.decided);
        relay.memory.settling = true;
        let settle = Settle { relay: number, life: relay.life, epoch: relay.lease.unwrap(), outcomes };
        self.settles.push(settle);
        self.settles.sort();
    }

    fn carry_out(&mut self, place: usize, protocol: &Protocol) {
        let Settle { relay: number, life, epoch, outcomes } = self.settles.remove(place);
        let holds = self.database.owner == Some(number) && self.database.epoch == epoch;
        if holds || !protocol.follows(Rule::SettlesAreFenced) {
            let mut changed = false;
            for (entry, outcome) in outcomes {
                changed |= self.database.decide(entry.message, entry.seen, outcome);
            }
            if changed {
                self.seen.stale_settle_applied = !holds;
                self.seen.settled_by_former_owner = epoch < self.settled;
                self.settled = self.settled.max(epoch);
            }
        } else {
            self.seen.stale_settle_refused = true;
        }
        let relay = self.relay(number);
        // An answer about an earlier lease says nothing about this one.
        if relay.crashed || relay.life != life || relay.lease != Some(epoch) {
            return;
        }
        if holds {
            relay.memory.settling = false;
        } else {
            relay.loses_lease();
        }
    }
}
