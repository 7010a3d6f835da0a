use std::collections::HashMap;

use outbox_core::{DeliverySource, MessageId};

use super::remembered::Remembered;
use super::work::Care;

/// Tells which deliveries may have been tried before in a process that is gone: one of them may be what took it down.
///
/// With a broker that counts deliveries it is what is delivered again without having been handed back by this consumer.
/// With one that hands out parts of a log it is what comes first with an assignment: no more deliveries were unsettled
/// at any time than the prefetch, so as many that are seen for the first time are looked at with care.
#[derive(Debug)]
pub(super) struct Suspects {
    /// What was handed back. One that is forgotten is handled with care, and that is all.
    handed_back: Remembered<HandedBack>,
    assignments: HashMap<DeliverySource, usize>,
    prefetch: usize,
}

#[derive(Debug, Clone, Copy)]
struct HandedBack {
    tries: u32,
    care: Care,
    /// Copies of it that are to come.
    copies: u32,
}

impl Suspects {
    pub(super) fn new(prefetch: usize) -> Self {
        Self { handed_back: Remembered::new(), assignments: HashMap::new(), prefetch }
    }

    /// Looks at a delivery: how many tries of it are known to have failed, and with how much care it is to be tried
    /// because there may be others.
    pub(super) fn look(
        &mut self,
        id: &MessageId,
        attempt: Option<u32>,
        source: Option<&DeliverySource>,
    ) -> (u32, Care) {
        if let Some(HandedBack { tries, care, copies }) = self.handed_back.get(id).copied() {
            if copies > 1 {
                self.handed_back.insert(*id, HandedBack { tries, care, copies: copies - 1 });
            } else {
                self.handed_back.remove(id);
            }
            return (tries, care);
        }
        let (tries, suspect) = match (attempt, source) {
            (Some(attempt), _) => (attempt.saturating_sub(1), attempt > 1),
            (None, Some(source)) => (0, self.is_watched(source)),
            (None, None) => (0, true),
        };
        (tries, if suspect { Care::Count } else { Care::None })
    }

    /// A delivery is handed back after so many tries. Being handed back is no try, and the broker counts it all the same;
    /// nor does it make a suspect innocent.
    pub(super) fn hand_back(&mut self, id: MessageId, tries: u32, care: Care) {
        let copies = self.handed_back.get(&id).map_or(0, |known| known.copies).saturating_add(1);
        self.handed_back.insert(id, HandedBack { tries, care, copies });
    }

    /// Whether a message, or a copy of it, was handed back and has not come again since.
    pub(super) fn is_handed_back(&self, id: &MessageId) -> bool {
        self.handed_back.get(id).is_some()
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
        assert_eq!(suspects.look(&id, Some(1), None), (0, Care::None));
        assert_eq!(suspects.look(&id, Some(2), None), (1, Care::Count));
        suspects.hand_back(id, 2, Care::None);
        assert_eq!(suspects.look(&id, Some(3), None), (2, Care::None));
        assert_eq!(suspects.look(&id, Some(4), None), (3, Care::Count));
        assert_eq!(suspects.look(&id, None, None), (0, Care::Count), "nobody counts");
    }

    #[test]
    fn each_copy_that_was_handed_back_is_expected_once() {
        let mut suspects = Suspects::new(2);
        let id = MessageId::new();
        suspects.hand_back(id, 0, Care::None);
        suspects.hand_back(id, 1, Care::None);
        for _ in 0..2 {
            assert!(suspects.is_handed_back(&id));
            assert_eq!(suspects.look(&id, Some(2), None), (1, Care::None));
        }
        assert!(!suspects.is_handed_back(&id));
        assert_eq!(suspects.look(&id, Some(2), None), (1, Care::Count));
    }

    #[test]
    fn a_suspect_that_was_handed_back_is_one_still() {
        let mut suspects = Suspects::new(2);
        let id = MessageId::new();
        suspects.hand_back(id, 1, Care::Count);
        assert_eq!(suspects.look(&id, Some(7), None), (1, Care::Count), "handing back is no try");
        suspects.hand_back(id, 1, Care::Alone);
        assert_eq!(suspects.look(&id, None, Some(&source(1, 1))), (1, Care::Alone));
    }

    #[test]
    fn the_first_of_each_assignment_are_suspect() {
        let mut suspects = Suspects::new(2);
        let look = |suspects: &mut Suspects, source| {
            suspects.look(&MessageId::new(), None, Some(&source)).1 == Care::Count
        };
        assert!(look(&mut suspects, source(1, 1)) && look(&mut suspects, source(1, 1)));
        suspects.survived(&source(1, 1));
        assert!(look(&mut suspects, source(1, 1)));
        suspects.survived(&source(1, 1));
        assert!(!look(&mut suspects, source(1, 1)));
        assert!(look(&mut suspects, source(2, 1)), "another partition");
        assert!(look(&mut suspects, source(1, 2)), "it was away");
        assert_eq!(suspects.assignments.len(), 2, "an assignment that is over is forgotten");
    }
}
