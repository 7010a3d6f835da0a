use std::collections::{HashMap, VecDeque};

use outbox_core::{DeliverySource, MessageId};

/// Tells which deliveries may have been tried before in a process that is gone: one of them may be what took it down.
///
/// With a broker that counts deliveries it is what is delivered again without having been handed back by this consumer.
/// With one that hands out parts of a log it is what comes first with an assignment: no more deliveries were unsettled
/// at any time than the prefetch, so as many that are seen for the first time are looked at with care.
#[derive(Debug)]
pub(super) struct Suspects {
    handed_back: HashMap<MessageId, u32>,
    /// What was handed back, the oldest first.
    oldest: VecDeque<MessageId>,
    assignments: HashMap<DeliverySource, usize>,
    prefetch: usize,
}

/// Messages that were handed back and are remembered at most. One that is forgotten is handled with care, and that is all.
const REMEMBERED: usize = 10_000;

impl Suspects {
    pub(super) fn new(prefetch: usize) -> Self {
        Self { handed_back: HashMap::new(), oldest: VecDeque::new(), assignments: HashMap::new(), prefetch }
    }

    /// Looks at a delivery: how many tries of it are known to have failed, and whether there may be others.
    pub(super) fn look(
        &mut self,
        id: &MessageId,
        attempt: Option<u32>,
        source: Option<&DeliverySource>,
    ) -> (u32, bool) {
        if let Some(tries) = self.handed_back.remove(id) {
            return (tries, false);
        }
        match (attempt, source) {
            (Some(attempt), _) => (attempt.saturating_sub(1), attempt > 1),
            (None, Some(source)) => (0, self.is_watched(source)),
            (None, None) => (0, true),
        }
    }

    /// A delivery is handed back after so many tries.
    pub(super) fn hand_back(&mut self, id: MessageId, tries: u32) {
        if self.handed_back.insert(id, tries).is_none() {
            self.oldest.push_back(id);
        }
        // What has come again leaves its place behind.
        while self.oldest.len() > REMEMBERED {
            if let Some(oldest) = self.oldest.pop_front() {
                self.handed_back.remove(&oldest);
            }
        }
    }

    /// A message of this source was tried for the first time, and the process is still there.
    pub(super) fn survived(&mut self, source: &DeliverySource) {
        if let Some(left) = self.assignments.get_mut(source) {
            *left = left.saturating_sub(1);
        }
    }

    fn is_watched(&mut self, source: &DeliverySource) -> bool {
        if let Some(left) = self.assignments.get(source) {
            return *left > 0;
        }
        // An earlier assignment of the same partition is over.
        self.assignments
            .retain(|known, _| known.partition != source.partition || known.topic != source.topic);
        self.assignments.insert(source.clone(), self.prefetch);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(partition: i32, assignment: u64) -> DeliverySource {
        DeliverySource { topic: "t".into(), partition, assignment }
    }

    #[test]
    fn a_second_delivery_is_suspect_unless_it_was_handed_back() {
        let mut suspects = Suspects::new(2);
        let id = MessageId::new();
        assert_eq!(suspects.look(&id, Some(1), None), (0, false));
        assert_eq!(suspects.look(&id, Some(2), None), (1, true));
        suspects.hand_back(id, 2);
        assert_eq!(suspects.look(&id, Some(3), None), (2, false));
        assert_eq!(suspects.look(&id, Some(4), None), (3, true));
        assert_eq!(suspects.look(&id, None, None), (0, true), "nobody counts");
    }

    #[test]
    fn the_first_of_each_assignment_are_suspect() {
        let mut suspects = Suspects::new(2);
        let look = |suspects: &mut Suspects, source| suspects.look(&MessageId::new(), None, Some(&source)).1;
        assert!(look(&mut suspects, source(1, 1)) && look(&mut suspects, source(1, 1)));
        suspects.survived(&source(1, 1));
        assert!(look(&mut suspects, source(1, 1)));
        suspects.survived(&source(1, 1));
        assert!(!look(&mut suspects, source(1, 1)));
        assert!(look(&mut suspects, source(2, 1)), "another partition");
        assert!(look(&mut suspects, source(1, 2)), "it was away");
        assert_eq!(suspects.assignments.len(), 2, "an assignment that is over is forgotten");
    }

    #[test]
    fn what_was_handed_back_is_forgotten_in_the_end() {
        let mut suspects = Suspects::new(1);
        let first = MessageId::new();
        suspects.hand_back(first, 1);
        for _ in 0..REMEMBERED {
            suspects.hand_back(MessageId::new(), 1);
        }
        assert_eq!(suspects.handed_back.len(), REMEMBERED);
        assert_eq!(suspects.look(&first, Some(2), None), (1, true));
    }
}
