use std::collections::{BTreeMap, HashMap, VecDeque};

use outbox_core::OrderingKey;
use tokio::time::Instant;

/// What is to be handled, in which order. Messages with a key have a lane, in which one goes after the other.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    turns: VecDeque<Turn<T>>,
    lanes: HashMap<OrderingKey, Lane<T>>,
    due: BTreeMap<(Instant, u64), OrderingKey>,
    /// Items without a lane that wait for their time.
    later: BTreeMap<(Instant, u64), T>,
    number: u64,
    waiting: usize,
    blocked: usize,
}

#[derive(Debug)]
enum Turn<T> {
    Single(T),
    Lane(OrderingKey),
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<T>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has a turn.
    Ready,
    /// Its head is being handled.
    Running,
    /// Its head waits for its next try.
    Blocked(Instant, u64),
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            lanes: HashMap::new(),
            due: BTreeMap::new(),
            later: BTreeMap::new(),
            number: 0,
            waiting: 0,
            blocked: 0,
        }
    }

    /// Adds an item behind all others, and behind those of its key.
    pub(super) fn push(&mut self, key: Option<OrderingKey>, item: T) {
        self.waiting += 1;
        let Some(key) = key else {
            self.turns.push_back(Turn::Single(item));
            return;
        };
        match self.lanes.get_mut(&key) {
            Some(lane) => {
                lane.items.push_back(item);
                if let State::Blocked(..) = lane.state {
                    self.blocked += 1;
                }
            }
            None => {
                self.turns.push_back(Turn::Lane(key.clone()));
                self.lanes.insert(key, Lane { items: VecDeque::from([item]), state: State::Ready });
            }
        }
    }

    /// Takes the item whose turn it is. Its lane stands still until [`Lanes::done`] or [`Lanes::again`].
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = match self.turns.pop_front()? {
            Turn::Single(item) => item,
            Turn::Lane(key) => {
                let lane = self.lanes.get_mut(&key)?;
                lane.state = State::Running;
                lane.items.pop_front()?
            }
        };
        self.waiting -= 1;
        Some(item)
    }

    /// The head of a lane is done with: the next one has a turn.
    pub(super) fn done(&mut self, key: &OrderingKey) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        if lane.items.is_empty() {
            self.lanes.remove(key);
        } else {
            lane.state = State::Ready;
            self.turns.push_back(Turn::Lane(key.clone()));
        }
    }

    /// An item without a lane comes again at this time.
    pub(super) fn later(&mut self, item: T, due: Instant) {
        self.number += 1;
        self.later.insert((due, self.number), item);
        self.waiting += 1;
        self.blocked += 1;
    }

    /// The head of a lane comes again at this time, and nothing of its lane before it.
    pub(super) fn again(&mut self, key: &OrderingKey, item: T, due: Instant) {
        let Some(lane) = self.lanes.get_mut(key) else {
            return;
        };
        self.number += 1;
        lane.items.push_front(item);
        lane.state = State::Blocked(due, self.number);
        self.due.insert((due, self.number), key.clone());
        self.waiting += 1;
        self.blocked += lane.items.len();
    }

    /// Takes the newest item of a lane, if it is not its head.
    pub(super) fn pop_newest(&mut self, key: &OrderingKey) -> Option<T> {
        let lane = self.lanes.get_mut(key)?;
        if lane.items.len() < 2 {
            return None;
        }
        let item = lane.items.pop_back()?;
        self.waiting -= 1;
        if let State::Blocked(..) = lane.state {
            self.blocked -= 1;
        }
        Some(item)
    }

    /// Takes the items of a lane that is to give way: its head was just taken, and is not coming back.
    pub(super) fn clear(&mut self, key: &OrderingKey) -> impl Iterator<Item = T> + use<T> {
        let items = self.lanes.remove(key).map(|lane| lane.items).unwrap_or_default();
        self.waiting -= items.len();
        items.into_iter()
    }

    /// When the lane of a key goes on; `None` if nothing holds it up.
    pub(super) fn blocked_until(&self, key: &OrderingKey) -> Option<Instant> {
        match self.lanes.get(key)?.state {
            State::Blocked(due, _) => Some(due),
            State::Ready | State::Running => None,
        }
    }

    /// Items that wait for a time, and those behind them.
    pub(super) const fn blocked(&self) -> usize {
        self.blocked
    }

    /// When the next one of them goes on.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let next = [self.due.keys().next(), self.later.keys().next()];
        next.into_iter().flatten().map(|(due, _)| *due).min()
    }

    /// Gives a turn to every item and lane whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry()
            && entry.key().0 <= now
        {
            self.blocked -= 1;
            self.turns.push_back(Turn::Single(entry.remove()));
        }
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.state = State::Ready;
                self.blocked -= lane.items.len();
                self.turns.push_back(Turn::Lane(key));
            }
        }
    }

    /// Items and lanes that have a turn.
    pub(super) fn ready(&self) -> usize {
        self.turns.len()
    }

    /// Items that wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// All items that wait.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let singles = self.turns.iter_mut().filter_map(|turn| match turn {
            Turn::Single(item) => Some(item),
            Turn::Lane(_) => None,
        });
        let lanes = self.lanes.values_mut().flat_map(|lane| lane.items.iter_mut());
        singles.chain(self.later.values_mut()).chain(lanes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str) -> Option<OrderingKey> {
        Some(OrderingKey::new(name).unwrap())
    }

    fn lanes(items: &[(&str, u32)]) -> Lanes<u32> {
        let mut lanes = Lanes::new();
        for (name, item) in items {
            lanes.push(if name.is_empty() { None } else { key(name) }, *item);
        }
        lanes
    }

    #[test]
    fn a_key_has_one_turn_at_a_time() {
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("b", 3), ("", 4)]);
        assert_eq!([lanes.pop(), lanes.pop(), lanes.pop(), lanes.pop()], [Some(1), Some(3), Some(4), None]);
        lanes.done(&key("a").unwrap());
        assert_eq!((lanes.waiting(), lanes.pop(), lanes.waiting()), (1, Some(2), 0));
        lanes.done(&key("a").unwrap());
        lanes.done(&key("b").unwrap());
        assert!(lanes.lanes.is_empty(), "a key that has nothing left is forgotten");
    }

    #[test]
    fn what_comes_again_comes_before_its_followers() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let a = key("a").unwrap();
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("b", 3)]);
        let head = lanes.pop().unwrap();
        lanes.again(&a, head, now + second);
        lanes.push(key("a"), 4);
        assert_eq!((lanes.blocked(), lanes.waiting()), (3, 4));
        assert_eq!((lanes.pop(), lanes.pop()), (Some(3), None), "the others go on");
        assert_eq!((lanes.blocked_until(&a), lanes.next_due()), (Some(now + second), Some(now + second)));
        lanes.wake(now);
        assert_eq!(lanes.pop(), None);
        lanes.wake(now + second);
        assert_eq!((lanes.blocked(), lanes.next_due(), lanes.blocked_until(&a)), (0, None, None));
        let mut taken = Vec::new();
        while let Some(item) = lanes.pop() {
            taken.push(item);
            lanes.done(&a);
        }
        assert_eq!(taken, [1, 2, 4]);
    }

    #[test]
    fn a_lane_can_give_way() {
        let a = key("a").unwrap();
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(lanes.pop(), Some(1));
        assert_eq!(lanes.clear(&a).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((lanes.waiting(), lanes.blocked(), lanes.pop()), (0, 0, None));
        lanes.push(key("a"), 4);
        assert_eq!(lanes.pop(), Some(4));
    }

    #[test]
    fn the_newest_of_a_lane_give_way_first() {
        let a = key("a").unwrap();
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("a", 3)]);
        let head = lanes.pop().unwrap();
        lanes.again(&a, head, Instant::now());
        assert_eq!(
            [lanes.pop_newest(&a), lanes.pop_newest(&a), lanes.pop_newest(&a)],
            [Some(3), Some(2), None]
        );
        assert_eq!((lanes.blocked(), lanes.waiting()), (1, 1));
        lanes.wake(Instant::now());
        assert_eq!((lanes.pop(), lanes.blocked()), (Some(1), 0));
    }

    #[test]
    fn an_item_without_a_lane_waits_by_itself() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut lanes = lanes(&[("", 1)]);
        lanes.later(2, now + second);
        assert_eq!((lanes.blocked(), lanes.waiting(), lanes.next_due()), (1, 2, Some(now + second)));
        assert_eq!((lanes.pop(), lanes.pop()), (Some(1), None));
        lanes.wake(now + second);
        assert_eq!((lanes.pop(), lanes.blocked(), lanes.waiting(), lanes.next_due()), (Some(2), 0, 0, None));
    }

    #[test]
    fn all_that_waits_is_there_once() {
        let mut lanes = lanes(&[("a", 1), ("a", 2), ("", 3), ("b", 4)]);
        let head = lanes.pop().unwrap();
        lanes.again(&key("a").unwrap(), head, Instant::now());
        lanes.later(5, Instant::now());
        let mut all: Vec<u32> = lanes.iter_mut().map(|item| *item).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5]);
    }
}
