use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Which partitions know a producer.
///
/// A partition that has taken a record of a producer refuses a later one if something between them is missing. One
/// that has not takes whatever comes first: if the first request is refused while the second is under way already, the
/// second is stored. So until all partitions of a topic are known to know the producer, one message of each key goes
/// ahead alone, and the others follow when it is confirmed.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    topics: Mutex<HashMap<Box<str>, Known>>,
}

#[derive(Debug)]
struct Known {
    partitions: HashSet<i32>,
    since: Instant,
}

impl Standing {
    /// A partition forgets a producer together with its last record, at the latest after a day.
    const TRUSTED_FOR: Duration = Duration::from_secs(600);

    /// Whether all partitions of a topic know the producer.
    pub(crate) fn is_settled(&self, topic: &str, partitions: usize) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.get(topic).is_some_and(|known| known.since.elapsed() > Self::TRUSTED_FOR) {
            topics.remove(topic);
        }
        topics.get(topic).is_some_and(|known| known.partitions.len() >= partitions)
    }

    /// A partition has taken a record.
    pub(crate) fn took(&self, topic: &str, partition: i32) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains_key(topic) {
            topics.insert(topic.into(), Known { partitions: HashSet::new(), since: Instant::now() });
        }
        if let Some(known) = topics.get_mut(topic) {
            known.partitions.insert(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_settled_when_all_its_partitions_are() {
        let standing = Standing::default();
        assert!(!standing.is_settled("t", 2));
        standing.took("t", 1);
        standing.took("t", 1);
        assert!(!standing.is_settled("t", 2));
        standing.took("t", 0);
        assert!(standing.is_settled("t", 2));
        assert!(!standing.is_settled("t", 3) && !standing.is_settled("u", 1));
    }
}
