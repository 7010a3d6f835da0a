use std::collections::{HashMap, VecDeque};

use outbox_core::MessageId;

/// What is known of messages that are with the broker. The oldest are forgotten when there are too many.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    known: HashMap<MessageId, T>,
    /// Their ids, the oldest first.
    oldest: VecDeque<MessageId>,
}

/// Messages that are remembered at most.
const MOST: usize = 10_000;

impl<T> Remembered<T> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), oldest: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, id: MessageId, what: T) {
        if self.known.insert(id, what).is_none() {
            self.oldest.push_back(id);
        }
        // What was removed leaves its place behind.
        while self.oldest.len() > MOST {
            if let Some(oldest) = self.oldest.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&T> {
        self.known.get(id)
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> Option<T> {
        self.known.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_in_the_end() {
        let mut remembered = Remembered::new();
        let (first, second) = (MessageId::new(), MessageId::new());
        remembered.insert(first, 1);
        remembered.insert(second, 2);
        remembered.insert(second, 3);
        for _ in 2..=MOST {
            remembered.insert(MessageId::new(), 0);
        }
        assert_eq!(remembered.known.len(), MOST);
        assert_eq!((remembered.get(&first), remembered.get(&second)), (None, Some(&3)));
        assert_eq!((remembered.remove(&second), remembered.get(&second)), (Some(3), None));
    }
}
