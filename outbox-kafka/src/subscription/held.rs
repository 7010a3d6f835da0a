use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outbox_core::{DeliverySource, SubscribeError, SubscribeErrorKind};
use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message, OwnedMessage};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::Notify;

use super::missing::Missing;
use super::partition::Partition;
use crate::error::{Trouble, subscribe_error};

/// What a member holds in memory, between the thread that reads and the deliveries that are out.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something happened that `next` waits for.
    pub(crate) arrived: Notify,
    /// Something happened that the thread waits for.
    room: Condvar,
    prefetch: usize,
    /// Whether topics that are missing are created.
    creates: bool,
}

#[derive(Default)]
struct State {
    partitions: HashMap<(Arc<str>, i32), Partition>,
    epoch: u64,
    ready: VecDeque<Held>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    /// Deliveries that are out.
    out: usize,
    /// Positions have moved that are not stored yet.
    moved: bool,
    /// One of them has gone back.
    back: bool,
    trouble: Option<SubscribeError>,
    missing: Missing,
    stopping: bool,
}

/// A record that was read and is not settled.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) record: Arc<Record>,
    partition: (Arc<str>, i32),
    epoch: u64,
    /// Which one of its partition it is.
    read: u64,
}

impl Held {
    pub(crate) fn source(&self) -> DeliverySource {
        let (topic, partition) = &self.partition;
        DeliverySource { topic: Arc::clone(topic), partition: *partition, assignment: self.epoch }
    }
}

/// A record, with its payload apart so that it need not be copied again.
pub(crate) struct Record {
    pub(crate) envelope: OwnedMessage,
    pub(crate) payload: Option<Bytes>,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let envelope = OwnedMessage::new(
            None,
            message.key().map(<[u8]>::to_vec),
            message.topic().to_owned(),
            message.timestamp(),
            message.partition(),
            message.offset(),
            message.headers().map(BorrowedHeaders::detach),
        );
        Self { envelope, payload: message.payload().map(Bytes::copy_from_slice) }
    }
}

struct Delayed {
    due: Instant,
    held: Held,
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.held.read).cmp(&(other.due, other.held.read))
    }
}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delayed {}

/// What `next` finds.
pub(crate) enum Found {
    Delivery(Held),
    /// A topic is to be created.
    Missing,
    Trouble(SubscribeError),
    /// Nothing, until it is notified or this time has come.
    Nothing(Option<Instant>),
    Closed,
}

impl Shared {
    /// Records that wait for their delay at most, before reading stops.
    const MOST_DELAYED: usize = 1_000;

    pub(crate) fn new(prefetch: usize, creates: bool) -> Arc<Self> {
        let (state, arrived, room) = (Mutex::default(), Notify::new(), Condvar::new());
        Arc::new(Self { state, arrived, room, prefetch, creates })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self) -> Found {
        let mut state = self.state();
        if state.stopping {
            return Found::Closed;
        }
        let now = Instant::now();
        if state.missing.begin(now) {
            return Found::Missing;
        }
        let missing = state.missing.due();
        if state.out >= self.prefetch {
            return Found::Nothing(missing);
        }
        let delayed = state.delayed.peek().map(|Reverse(delayed)| delayed.due);
        let held = match delayed {
            Some(due) if due <= now => state.delayed.pop().map(|Reverse(delayed)| delayed.held),
            _ => state.ready.pop_front(),
        };
        match held {
            Some(held) => {
                state.out += 1;
                Found::Delivery(held)
            }
            None => match state.trouble.take() {
                Some(trouble) => Found::Trouble(trouble),
                None => Found::Nothing(delayed.into_iter().chain(missing).min()),
            },
        }
    }

    /// Whether a delivery is still this member's to settle.
    pub(crate) fn owns(&self, held: &Held) -> Result<(), SubscribeError> {
        self.state().partition(held).map(drop)
    }

    /// A delivery is done with.
    pub(crate) fn settle(&self, held: &Held) -> Result<(), SubscribeError> {
        let mut state = self.state();
        let settled = state.partition(held).map(|partition| partition.settle(held.read));
        state.moved |= matches!(settled, Ok(true));
        self.returned(state);
        settled.map(drop)
    }

    /// A delivery is to come again.
    pub(crate) fn again(&self, held: Held, delay: Duration) -> Result<(), SubscribeError> {
        let mut state = self.state();
        let owned = state.partition(&held).map(drop);
        if owned.is_ok() {
            // As good as never, for a delay that no clock can hold.
            let now = Instant::now();
            let due = now.checked_add(delay).unwrap_or(now + Duration::from_secs(86_400 * 365));
            state.delayed.push(Reverse(Delayed { due, held }));
        }
        self.returned(state);
        owned
    }

    fn returned(&self, mut state: MutexGuard<'_, State>) {
        state.out -= 1;
        drop(state);
        self.room.notify_one();
        self.arrived.notify_one();
    }

    /// Waits until there is room for another record, at most for `patience`; `false` if there is none.
    pub(crate) fn room(&self, patience: Duration) -> bool {
        let full = |state: &mut State| {
            let full = state.ready.len() + state.out >= self.prefetch
                || state.delayed.len() >= Self::MOST_DELAYED.max(self.prefetch);
            full && !state.stopping
        };
        let waited = self.room.wait_timeout_while(self.state(), patience, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(crate) fn read(&self, message: &BorrowedMessage<'_>) {
        let record = Arc::new(Record::of(message));
        let mut state = self.state();
        let partition: (Arc<str>, i32) = (message.topic().into(), message.partition());
        // Without a partition, it was taken away a moment ago.
        if let Some(found) = state.partitions.get_mut(&partition) {
            let (epoch, (read, back)) = (found.epoch, found.read(message.offset()));
            state.moved |= back;
            state.back |= back;
            state.trouble = None;
            state.ready.push_back(Held { record, partition, epoch, read });
            drop(state);
            self.arrived.notify_one();
        }
    }

    pub(crate) fn assigned(&self, list: &TopicPartitionList) {
        let mut state = self.state();
        state.epoch += 1;
        let epoch = state.epoch;
        for element in list.elements() {
            let partition = (element.topic().into(), element.partition());
            state.partitions.insert(partition, Partition::new(epoch));
        }
    }

    /// Forgets partitions with everything that is held of them: it comes again, to whoever has them now.
    pub(crate) fn revoked(&self, list: &TopicPartitionList) {
        let mut state = self.state();
        for element in list.elements() {
            state.partitions.remove(&(element.topic().into(), element.partition()));
        }
        state.forget();
        drop(state);
        self.room.notify_one();
    }

    pub(crate) fn trouble(&self, trouble: SubscribeError) {
        let mut state = self.state();
        if self.creates && trouble.kind() == SubscribeErrorKind::Missing {
            state.missing.report(Instant::now());
        } else {
            state.trouble = Some(trouble);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// How often a topic was said to be missing.
    pub(crate) fn missing(&self) -> u64 {
        self.state().missing.reports()
    }

    /// It was tried to create what is missing.
    pub(crate) fn tried(&self) {
        self.state().missing.rest(Instant::now());
    }

    /// All topics are there, after so many reports.
    pub(crate) fn found_all(&self, reports: u64) {
        self.state().missing.found(reports);
    }

    /// The positions to store, if any has moved, and whether one has gone back.
    pub(crate) fn moved(&self) -> Option<(TopicPartitionList, bool)> {
        let mut state = self.state();
        let back = std::mem::take(&mut state.back);
        std::mem::take(&mut state.moved).then(|| (state.positions().unwrap_or_default(), back))
    }

    /// All positions.
    pub(crate) fn positions(&self) -> Result<TopicPartitionList, KafkaError> {
        self.state().positions()
    }

    pub(crate) fn stop(&self) {
        self.state().stopping = true;
        self.room.notify_one();
        self.arrived.notify_one();
    }

    /// Changes with every assignment.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state().stopping
    }
}

impl State {
    fn partition(&mut self, held: &Held) -> Result<&mut Partition, SubscribeError> {
        if self.stopping {
            return Err(subscribe_error(Trouble::Stale));
        }
        let found = self.partitions.get_mut(&held.partition);
        found.filter(|found| found.epoch == held.epoch).ok_or_else(|| subscribe_error(Trouble::Stale))
    }

    fn forget(&mut self) {
        let partitions = &self.partitions;
        let kept =
            |held: &Held| partitions.get(&held.partition).is_some_and(|found| found.epoch == held.epoch);
        self.ready.retain(kept);
        self.delayed.retain(|Reverse(delayed)| kept(&delayed.held));
    }

    fn positions(&self) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for ((topic, number), partition) in &self.partitions {
            if let Some(position) = partition.position() {
                list.add_partition_offset(topic, *number, Offset::Offset(position))?;
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::*;

    fn group(code: Code) -> SubscribeError {
        subscribe_error(Trouble::Group { topic: None, code })
    }

    fn is_trouble(found: &Found, kind: SubscribeErrorKind) -> bool {
        matches!(found, Found::Trouble(error) if error.kind() == kind)
    }

    #[test]
    fn a_topic_to_create_is_not_forgotten_over_other_trouble_or_a_try_that_ends_early() {
        let shared = Shared::new(1, true);
        shared.trouble(group(Code::UnknownTopicOrPartition));
        shared.trouble(group(Code::GroupAuthorizationFailed));
        assert!(matches!(shared.find(), Found::Missing));
        assert!(is_trouble(&shared.find(), SubscribeErrorKind::Refused));
        assert!(matches!(shared.find(), Found::Nothing(Some(_))), "it is tried again");
        shared.found_all(shared.missing());
        assert!(matches!(shared.find(), Found::Nothing(None)));
    }

    #[test]
    fn a_topic_that_somebody_else_is_to_create_is_named() {
        let shared = Shared::new(1, false);
        shared.trouble(group(Code::UnknownTopicOrPartition));
        assert!(is_trouble(&shared.find(), SubscribeErrorKind::Missing));
        assert!(matches!(shared.find(), Found::Nothing(None)));
    }
}
