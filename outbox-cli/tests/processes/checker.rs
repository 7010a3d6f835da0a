use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::brokers::{Broker, Received};

/// A message that was committed, by the writers' own account.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) version: u64,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

/// What became of the messages.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) committed: usize,
    pub(crate) received: usize,
    /// Second and further copies.
    pub(crate) duplicates: usize,
    /// Committed and never received.
    lost: Vec<String>,
    /// Received and never committed: of a transaction that was rolled back, for example.
    unexpected: Vec<String>,
    /// Received with another key, topic or payload.
    altered: Vec<String>,
    /// First received after a later version of the same key.
    disordered: Vec<String>,
}

impl Verdict {
    /// Compares what was committed with what a broker has, in its order.
    pub(crate) fn of(committed: &[Committed], received: &[Received]) -> Self {
        Self::compare(committed, received, |_| "")
    }

    /// The same for a broker whose topics are logs of their own: there, order is order within a topic.
    pub(crate) fn of_topics(committed: &[Committed], received: &[Received]) -> Self {
        Self::compare(committed, received, |original| &original.topic)
    }

    /// What this broker has.
    pub(crate) fn on(broker: &dyn Broker, committed: &[Committed]) -> Self {
        let received = broker.read_all();
        if broker.is_one_log() {
            Self::of(committed, &received)
        } else {
            Self::of_topics(committed, &received)
        }
    }

    fn compare(committed: &[Committed], received: &[Received], log: fn(&Committed) -> &str) -> Self {
        let by_id: HashMap<&str, &Committed> = committed.iter().map(|one| (one.id.as_str(), one)).collect();
        assert_eq!(by_id.len(), committed.len(), "the writers have used an id twice");
        let mut verdict = Self { committed: committed.len(), received: received.len(), ..Self::default() };
        let mut seen = HashSet::new();
        let mut latest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for message in received {
            let Some(original) = by_id.get(message.id.as_str()) else {
                verdict.unexpected.push(message.id.clone());
                continue;
            };
            if (&message.key, &message.topic, &message.payload)
                != (&original.key, &original.topic, &original.payload)
            {
                verdict.altered.push(message.id.clone());
            }
            if !seen.insert(original.id.as_str()) {
                // Also one that comes late: only first deliveries are promised to be in order.
                verdict.duplicates += 1;
                continue;
            }
            let latest = latest.entry((log(original), &original.key)).or_default();
            if original.version <= *latest {
                let (key, version) = (&original.key, original.version);
                verdict.disordered.push(format!("{key:?}: {version} after {latest}"));
            }
            *latest = original.version.max(*latest);
        }
        let missing = committed.iter().filter(|one| !seen.contains(one.id.as_str()));
        verdict.lost = missing.map(|one| format!("{:?}: {}", one.key, one.version)).collect();
        verdict
    }

    /// Nothing lost, nothing that was not committed, nothing altered, every key in order.
    pub(crate) fn assert_sound(&self) {
        let sound = [&self.lost, &self.unexpected, &self.altered, &self.disordered]
            .iter()
            .all(|list| list.is_empty());
        assert!(sound, "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, received, duplicates, .. } = self;
        write!(f, "{committed} committed, {received} received, {duplicates} duplicates")?;
        let lists = [
            ("lost", &self.lost),
            ("unexpected", &self.unexpected),
            ("altered", &self.altered),
            ("out of order", &self.disordered),
        ];
        for (name, list) in lists {
            write!(f, ", {} {name}", list.len())?;
            if !list.is_empty() {
                write!(f, " ({}…)", list[..list.len().min(10)].join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Vec<Committed> {
        let one = |id: &str, key: &str, version| Committed {
            id: id.to_owned(),
            key: key.to_owned(),
            version,
            topic: "shop.orders".to_owned(),
            payload: id.as_bytes().to_vec(),
        };
        vec![one("a1", "a", 1), one("a2", "a", 2), one("b1", "b", 1)]
    }

    fn received(ids: &[&str]) -> Vec<Received> {
        let one = |id: &&str| Received {
            id: (*id).to_owned(),
            topic: "shop.orders".to_owned(),
            key: id[..1].to_owned(),
            payload: id.as_bytes().to_vec(),
        };
        ids.iter().map(one).collect()
    }

    fn text(received: &[Received]) -> String {
        Verdict::of(&committed(), received).to_string()
    }

    #[test]
    fn what_is_right_is_sound() {
        for order in [["a1", "a2", "b1"], ["b1", "a1", "a2"], ["a1", "b1", "a2"]] {
            Verdict::of(&committed(), &received(&order)).assert_sound();
        }
        let late_copy = Verdict::of(&committed(), &received(&["a1", "a2", "a1", "b1"]));
        late_copy.assert_sound();
        assert_eq!(late_copy.duplicates, 1);
    }

    #[test]
    fn what_is_wrong_is_found_and_named() {
        assert!(text(&received(&["a1", "a2"])).contains("1 lost (\"b\": 1…)"));
        assert!(text(&received(&["a1", "a2", "b1", "x9"])).contains("1 unexpected (x9…)"));
        assert!(text(&received(&["a2", "a1", "b1"])).contains("1 out of order (\"a\": 1 after 2…)"));
        for alter in [
            (|message: &mut Received| message.payload.push(0)) as fn(&mut Received),
            |message| message.key.push('x'),
            |message| message.topic.push('x'),
        ] {
            let mut all = received(&["a1", "a2", "b1"]);
            alter(&mut all[1]);
            assert!(text(&all).contains("1 altered (a2…)"));
        }
    }
}
