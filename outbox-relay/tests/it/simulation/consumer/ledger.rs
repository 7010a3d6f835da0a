use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use outbox_core::{MessageId, OrderingKey};

use super::super::journal::Journal;
use super::super::script::{Fingerprint, chance};
use super::plan::{Kind, Nature, Setup};

/// What is true in a world, whatever the consumer believes: who was handled, who failed, and which promise was broken
/// first.
pub(super) struct Ledger {
    per_key: bool,
    concurrency: usize,
    max_attempts: u32,
    /// Members that may look at a message at the same time, beside the one that has it.
    others: u32,
    /// Keys are handled in their order, as long as the broker delivers in it.
    ordered: bool,
    timed: bool,
    journal: Journal,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    messages: HashMap<MessageId, Record>,
    /// The number of the last message of each key that had an effect.
    last: HashMap<OrderingKey, usize>,
    disordered: HashSet<OrderingKey>,
    running: HashMap<usize, Vec<MessageId>>,
    crashed: HashMap<usize, bool>,
    stopping: HashSet<usize>,
    /// What each member gave up, and could not move to the dead letters.
    unburied: HashSet<(usize, MessageId)>,
    order_lost: bool,
    broken: Option<String>,
    history: Option<Fingerprint>,
}

/// What is known of one message.
struct Record {
    name: String,
    key: Option<(OrderingKey, usize)>,
    nature: Nature,
    tries: u32,
    failures: u32,
    /// Tries that the process did not survive, with nothing else under way.
    crashes_alone: u32,
    /// The same, with others under way.
    crashes_beside: u32,
    /// Tries that took the process down.
    kills: u32,
    /// Counts in the database that may be one too high, because of a fault there.
    miscounted: u32,
    effects: u32,
    skipped: bool,
    rejected: bool,
    /// It went to the dead letters, or was to go there.
    given_up: bool,
    dead: u32,
}

impl Ledger {
    pub(super) fn new(setup: &Setup, journal: &Journal) -> Self {
        Self {
            per_key: setup.per_key,
            concurrency: setup.concurrency,
            max_attempts: setup.max_attempts.into(),
            others: u32::try_from(setup.members - 1).unwrap(),
            ordered: setup.per_key && setup.members == 1,
            timed: matches!(setup.broker.kind, Kind::Timed(_)),
            journal: journal.clone(),
            book: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        self.journal.note(|| format!("    {}", text()));
    }

    pub(super) fn broken(&self) -> Option<String> {
        self.book().broken.clone()
    }

    pub(super) fn published(
        &self,
        id: MessageId,
        name: String,
        key: Option<(OrderingKey, usize)>,
        nature: Nature,
    ) {
        let record = Record {
            name,
            key,
            nature,
            tries: 0,
            failures: 0,
            crashes_alone: 0,
            crashes_beside: 0,
            kills: 0,
            miscounted: 0,
            effects: 0,
            skipped: false,
            rejected: false,
            given_up: false,
            dead: 0,
        };
        self.book().messages.insert(id, record);
    }

    pub(super) fn nature(&self, id: &MessageId) -> Nature {
        self.book().messages[id].nature
    }

    pub(super) fn name(&self, id: &MessageId) -> String {
        self.book().messages[id].name.clone()
    }

    /// A member begins with a message. Returns which try it is.
    pub(super) fn begins(&self, member: usize, id: MessageId) -> u32 {
        let mut book = self.book();
        let key = book.messages[&id].key.clone();
        let running = book.running.entry(member).or_default().clone();
        if running.len() >= self.concurrency {
            book.breaks(format!("{} handlers at once, allowed are {}", running.len() + 1, self.concurrency));
        }
        let same = |other: &&MessageId| {
            book.messages[*other].key.as_ref().map(|(key, _)| key) == key.as_ref().map(|(key, _)| key)
        };
        if self.per_key
            && key.is_some()
            && let Some(other) = running.iter().find(same)
        {
            let text = format!("{} and {} at once", book.messages[other].name, book.messages[&id].name);
            book.breaks(text);
        }
        if book.unburied.contains(&(member, id)) {
            let text = format!("member {member} tries {}, which it gave up", book.messages[&id].name);
            book.breaks(text);
        }
        book.running.entry(member).or_default().push(id);
        let record = book.record(&id);
        record.tries += 1;
        record.tries
    }

    /// The handler of a member is through with a message, however it ended. A future that was dropped, or that panicked,
    /// says nothing.
    pub(super) fn ends(&self, member: usize, id: MessageId, outcome: Option<Outcome>) {
        let mut book = self.book();
        let running = book.running.entry(member).or_default();
        if let Some(place) = running.iter().position(|other| *other == id) {
            running.remove(place);
        }
        let crashed = book.crashed.get(&member).copied();
        let record = book.record(&id);
        match (outcome, crashed) {
            (Some(Outcome::Failed), _) | (None, None) => record.failures += 1,
            (Some(Outcome::Rejected), _) => record.rejected = true,
            (Some(Outcome::Skipped), _) => record.skipped = true,
            (Some(Outcome::Handled | Outcome::NoTry), _) => {}
            (None, Some(true)) => record.crashes_alone += 1,
            (None, Some(false)) => record.crashes_beside += 1,
        }
    }

    /// The process of a member dies, with all that it does.
    pub(super) fn crashes(&self, member: usize) {
        let mut book = self.book();
        let alone = book.running.get(&member).is_none_or(|running| running.len() == 1);
        book.crashed.insert(member, alone);
        if self.timed {
            // What it held comes again when its time has run out, and new messages of the key come before that.
            book.order_lost = true;
        }
    }

    /// This message takes it down.
    pub(super) fn kills(&self, id: &MessageId) {
        self.book().record(id).kills += 1;
    }

    pub(super) fn stops(&self, member: usize) {
        self.book().stopping.insert(member);
    }

    /// The broker delivers again what somebody still has.
    pub(super) fn delivers_again(&self) {
        self.book().order_lost |= self.timed;
    }

    /// A database says that a try was counted which was none.
    pub(super) fn miscounts(&self, id: &MessageId) {
        self.book().record(id).miscounted += 1;
    }

    /// The transaction of a handler was committed.
    pub(super) fn takes_effect(&self, id: &MessageId) {
        let mut book = self.book();
        let record = book.record(id);
        record.effects += 1;
        // What was done with before, and came back all the same, has had its turn.
        let (name, effects, done, key) =
            (record.name.clone(), record.effects, record.given_up || record.skipped, record.key.clone());
        if effects > 1 {
            book.breaks(format!("the effects of {name} happened {effects} times"));
        }
        let history = book.history.get_or_insert(Fingerprint::new());
        history.add(chance(0, id.as_uuid().as_u128(), 1));
        let Some((key, number)) = key else { return };
        let last = book.last.get(&key).copied().unwrap_or(0);
        let promised = self.ordered && !book.order_lost && !book.disordered.contains(&key) && !done;
        if last > number && promised {
            book.breaks(format!("{name} was handled after number {last} of its key"));
        }
        book.last.insert(key, last.max(number));
    }

    /// The broker was told that a message is done with.
    pub(super) fn acknowledged(&self, id: &MessageId) {
        let mut book = self.book();
        let record = book.record(id);
        if record.effects == 0 && !record.skipped {
            let name = record.name.clone();
            book.breaks(format!("{name} was acknowledged before its effects were committed"));
        }
    }

    /// A member hands a message back.
    pub(super) fn handed_back(&self, member: usize, id: &MessageId, at_once: bool) {
        let mut book = self.book();
        // At its end, everything goes back, and in order.
        if !(at_once && book.stopping.contains(&member))
            && let Some((key, _)) = book.messages[id].key.clone()
        {
            book.disordered.insert(key);
        }
    }

    /// A member wants a message to go to the dead letters.
    pub(super) fn given_up(&self, member: usize, id: &MessageId) {
        let mut book = self.book();
        book.record(id).given_up = true;
        book.unburied.insert((member, *id));
    }

    /// It was told that the message is there. A log may bring it back all the same.
    pub(super) fn knows_it_is_buried(&self, member: usize, id: &MessageId) {
        self.book().unburied.remove(&(member, *id));
    }

    /// It is there.
    pub(super) fn buried(&self, id: &MessageId, reason: &str) {
        // Who takes a message from somebody that still has it counts a try beside that one's.
        let (most, others) = (self.max_attempts, self.others);
        let mut book = self.book();
        let history = book.history.get_or_insert(Fingerprint::new());
        history.add(chance(0, id.as_uuid().as_u128(), 2));
        let record = book.record(id);
        record.dead += 1;
        // Who crashes beside others is handled alone from then on; unless it was that one's own doing, each time.
        let tries = record.failures
            + record.crashes_alone
            + record.crashes_beside.min(1 + record.kills)
            + record.miscounted;
        let due = record.rejected || record.nature == Nature::Foreign || tries + others >= most;
        if !due {
            let text = format!(
                "{} went to the dead letters after {} failures, {} crashes alone and {} beside others, {} miscounts; \
                 allowed are {most} tries: {reason}",
                record.name, record.failures, record.crashes_alone, record.crashes_beside, record.miscounted
            );
            book.breaks(text);
        }
    }

    /// Everything is settled. Is anything missing?
    pub(super) fn closes(&self) -> Result<u64, String> {
        let book = self.book();
        if let Some(broken) = &book.broken {
            return Err(broken.clone());
        }
        for record in book.messages.values() {
            let Record { name, effects, dead, skipped, .. } = record;
            let well = match record.nature {
                Nature::Good | Nature::Slow => *effects == 1 || *dead > 0 || *skipped,
                Nature::Poison | Nature::Killer | Nature::Foreign => *effects == 0 && *dead > 0,
            };
            if !well {
                return Err(format!("{name} is lost: {effects} effects, {dead} dead letters"));
            }
        }
        Ok(book.history.map_or(0, Fingerprint::value))
    }
}

/// How a handler ended that came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its effects are committed, now or before.
    Handled,
    Skipped,
    /// Somebody or something was in the way.
    NoTry,
    Failed,
    Rejected,
}

impl Book {
    fn breaks(&mut self, text: String) {
        self.broken.get_or_insert(text);
    }

    fn record(&mut self, id: &MessageId) -> &mut Record {
        self.messages.get_mut(id).unwrap()
    }
}
