use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::metrics::SharedString;
use outbox_core::Topic;

use super::labels::OTHER_TOPICS;

/// Topics as values of a label, of which there must not be arbitrarily many: each is a time series for ever. The first
/// [`TopicLabels::MOST`] keep their names, the rest share one.
#[derive(Debug, Clone, Default)]
pub struct TopicLabels {
    // Asked once per topic and batch. Shared by the destinations of a relay, so that the bound is one for the process.
    known: Arc<Mutex<HashMap<Topic, SharedString>>>,
}

impl TopicLabels {
    /// How many topics keep their names.
    pub const MOST: usize = 100;

    /// The value of the label for a topic.
    #[must_use]
    pub fn of(&self, topic: &Topic) -> SharedString {
        let mut known = self.known();
        if let Some(label) = known.get(topic) {
            return label.clone();
        }
        if known.len() >= Self::MOST {
            return SharedString::const_str(OTHER_TOPICS);
        }
        let label = SharedString::from_shared(Arc::from(topic.as_str()));
        known.insert(topic.clone(), label.clone());
        label
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Topic, SharedString>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_keep_their_names_and_the_rest_share_one() {
        let labels = TopicLabels::default();
        let topic = |number: usize| Topic::new(format!("t{number}")).unwrap();
        for number in 0..TopicLabels::MOST {
            assert_eq!(&*labels.of(&topic(number)), topic(number).as_str());
        }
        assert_eq!(&*labels.of(&topic(100)), "other");
        assert_eq!(&*labels.clone().of(&topic(101)), "other");
        assert_eq!(&*labels.of(&topic(99)), "t99", "a known one keeps its name");
    }
}
