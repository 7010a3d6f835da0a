use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::history::{Entry, History, Received};

/// What must hold whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Invariant {
    /// What was committed is in the broker, or in the dead letters if the broker refuses it.
    I1NoneLost,
    /// What was not committed is nowhere.
    I2NoPhantom,
    /// The messages of a key are first delivered in their order.
    I3Order,
    /// There are no more second copies than the injections explain.
    I4Duplicates,
    /// What is refused is in the dead letters once, and nothing else is.
    I5DeadLetters,
    /// Each message has its effect once.
    I6EffectsOnce,
    /// When the trouble is over, everything is delivered in time, and every process ends when it is told to.
    I7Drains,
    /// Who does not own a shard changes nothing of it.
    I8Fence,
    /// Topic, key, header and payload are those that were committed.
    I9Intact,
    /// No transaction of a producer fails because of the relays, or waits for one.
    I10Undisturbed,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I1NoneLost => "I1 none lost",
            Self::I2NoPhantom => "I2 no phantom",
            Self::I3Order => "I3 order of first deliveries",
            Self::I4Duplicates => "I4 duplicates within the bound",
            Self::I5DeadLetters => "I5 dead letters",
            Self::I6EffectsOnce => "I6 effects once",
            Self::I7Drains => "I7 drains",
            Self::I8Fence => "I8 a stale owner changes nothing",
            Self::I9Intact => "I9 intact",
            Self::I10Undisturbed => "I10 producers are undisturbed",
        })
    }
}

/// One thing that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) text: String,
    /// The message that it is about.
    pub(crate) id: Option<String>,
}

/// What became of the messages of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    /// Second and further copies.
    pub(crate) duplicates: usize,
}

impl Verdict {
    pub(crate) fn of(history: &History) -> Self {
        let mut verdict = Self::default();
        let committed: HashMap<&str, &Entry> =
            history.committed.iter().map(|entry| (entry.id.as_str(), entry)).collect();
        let delivered = verdict.deliveries(history, &committed);
        verdict.losses(history, &delivered);
        verdict.dead_letters(history, &committed, &delivered);
        verdict.effects(history, &committed);
        verdict.ends(history);
        verdict
    }

    fn add(&mut self, invariant: Invariant, id: Option<&str>, text: impl Into<String>) {
        self.violations.push(Violation { invariant, id: id.map(str::to_owned), text: text.into() });
    }

    /// What the broker has, log by log. Returns what was delivered.
    fn deliveries<'a>(
        &mut self,
        history: &'a History,
        committed: &HashMap<&str, &Entry>,
    ) -> HashSet<&'a str> {
        let mut seen = HashSet::new();
        let mut latest: BTreeMap<(&str, &str), (i64, &str)> = BTreeMap::new();
        for message in &history.received {
            let Some(entry) = committed.get(message.id.as_str()) else {
                let text = format!("{} has a message that nobody has committed", message.log);
                self.add(Invariant::I2NoPhantom, Some(&message.id), text);
                continue;
            };
            if let Some(what) = altered(entry, message) {
                self.add(Invariant::I9Intact, Some(&message.id), format!("its {what} is another one"));
            }
            if !seen.insert(message.id.as_str()) {
                // Also one that comes late: only first deliveries are promised to be in order.
                self.duplicates += 1;
                continue;
            }
            let Some(account) = &entry.account else { continue };
            let latest = latest.entry((message.log.as_str(), account.as_str())).or_insert((0, ""));
            if entry.version <= latest.0 {
                let text = format!(
                    "version {} of {account} came first after version {} (message {})",
                    entry.version, latest.0, latest.1
                );
                self.add(Invariant::I3Order, Some(&message.id), text);
            }
            *latest = (*latest).max((entry.version, message.id.as_str()));
        }
        if self.duplicates > history.duplicates_allowed {
            let text = format!(
                "{} second copies, and the injections explain {}",
                self.duplicates, history.duplicates_allowed
            );
            self.add(Invariant::I4Duplicates, None, text);
        }
        seen
    }

    fn losses(&mut self, history: &History, delivered: &HashSet<&str>) {
        for entry in history.committed.iter().filter(|entry| !entry.refused) {
            if !delivered.contains(entry.id.as_str()) {
                let account = entry.account.as_deref().unwrap_or("no account");
                let text = format!("version {} of {account} was committed and not delivered", entry.version);
                self.add(Invariant::I1NoneLost, Some(&entry.id), text);
            }
        }
    }

    fn dead_letters(
        &mut self,
        history: &History,
        committed: &HashMap<&str, &Entry>,
        delivered: &HashSet<&str>,
    ) {
        let mut buried: HashMap<&str, usize> = HashMap::new();
        for letter in &history.dead {
            let id = Some(letter.id.as_str());
            *buried.entry(letter.id.as_str()).or_default() += 1;
            match committed.get(letter.id.as_str()) {
                None => self.add(Invariant::I2NoPhantom, id, "a dead letter of what nobody has committed"),
                Some(entry) if !entry.refused => {
                    let text = format!("a dead letter of a message that the broker takes: {}", letter.reason);
                    self.add(Invariant::I5DeadLetters, id, text);
                }
                Some(entry) if entry.payload != letter.payload || entry.topic != letter.topic => {
                    self.add(Invariant::I9Intact, id, "its dead letter has another topic or payload");
                }
                Some(_) => {}
            }
        }
        for entry in history.committed.iter().filter(|entry| entry.refused) {
            let (id, copies) = (entry.id.as_str(), buried.get(entry.id.as_str()).copied().unwrap_or(0));
            if copies != 1 {
                let text = format!("the broker refuses it, and there are {copies} dead letters of it");
                self.add(Invariant::I5DeadLetters, Some(id), text);
            }
            if delivered.contains(id) {
                self.add(Invariant::I5DeadLetters, Some(id), "the broker refuses it, and has it");
            }
        }
        if history.given_up > 0 {
            let text = format!("the consumers have given up {} messages", history.given_up);
            self.add(Invariant::I5DeadLetters, None, text);
        }
    }

    fn effects(&mut self, history: &History, committed: &HashMap<&str, &Entry>) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for effect in &history.effects {
            *counts.entry(effect.id.as_str()).or_default() += 1;
            if !committed.contains_key(effect.id.as_str()) {
                self.add(Invariant::I2NoPhantom, Some(&effect.id), "an effect of what nobody has committed");
            }
        }
        for entry in history.committed.iter().filter(|entry| !entry.refused) {
            let count = counts.get(entry.id.as_str()).copied().unwrap_or(0);
            if count != 1 {
                self.add(Invariant::I6EffectsOnce, Some(&entry.id), format!("it had {count} effects"));
            }
        }
    }

    fn ends(&mut self, history: &History) {
        if history.waiting > 0 {
            let text = format!("{} messages still wait in the outbox", history.waiting);
            self.add(Invariant::I7Drains, None, text);
        }
        for mishap in &history.mishaps {
            self.add(Invariant::I7Drains, None, mishap.clone());
        }
        if let Some(failure) = history.failures.first() {
            let text = format!(
                "{} transactions of producers failed, and nothing was done to them: {failure}",
                history.failures.len()
            );
            self.add(Invariant::I10Undisturbed, None, text);
        }
        if let Some(text) = &history.held_up {
            self.add(Invariant::I10Undisturbed, None, text.clone());
        }
        if history.stolen > 0 {
            let text =
                format!("relays took {} rows out of the outbox that were another relay's", history.stolen);
            self.add(Invariant::I8Fence, None, text);
        }
    }
}

/// What of a message is not as it was committed.
fn altered(entry: &Entry, message: &Received) -> Option<&'static str> {
    if entry.topic != message.topic {
        return Some("topic");
    }
    if entry.account != message.account {
        return Some("key");
    }
    if entry.version.to_string() != message.version {
        return Some("header");
    }
    (entry.payload != message.payload).then_some("payload")
}

#[cfg(test)]
mod tests {
    use super::super::history::{Dead, Effect};
    use super::*;

    fn entry(id: &str, account: Option<&str>, version: i64, refused: bool) -> Entry {
        let (id, account) = (id.to_owned(), account.map(str::to_owned));
        Entry { payload: id.clone().into_bytes(), id, account, version, topic: "t".to_owned(), refused }
    }

    fn received(entry: &Entry) -> Received {
        let Entry { id, topic, account, version, payload, .. } = entry.clone();
        Received { log: "log".to_owned(), id, topic, account, version: version.to_string(), payload }
    }

    fn dead(entry: &Entry) -> Dead {
        let Entry { id, topic, payload, .. } = entry.clone();
        Dead { id, topic, payload, reason: "rejected".to_owned() }
    }

    /// A run in which all is well: two versions of an account, one message without, and one that is refused.
    fn good() -> History {
        let committed = vec![
            entry("a1", Some("a"), 1, false),
            entry("a2", Some("a"), 2, false),
            entry("n", None, 0, false),
            entry("r", None, 0, true),
        ];
        History {
            received: committed[..3].iter().map(received).collect(),
            dead: vec![dead(&committed[3])],
            effects: committed[..3].iter().map(|entry| Effect { id: entry.id.clone(), worker: 1 }).collect(),
            committed,
            ..History::default()
        }
    }

    fn broken(breaks: impl FnOnce(&mut History)) -> Vec<Invariant> {
        let mut history = good();
        breaks(&mut history);
        Verdict::of(&history).violations.iter().map(|violation| violation.invariant).collect()
    }

    #[test]
    fn what_is_well_is_well() {
        assert_eq!(broken(|_| ()), []);
        assert_eq!(broken(|history| history.received.reverse()), [Invariant::I3Order]);
        // Without a key, and in another log, there is no order.
        assert_eq!(broken(|history| history.received.rotate_right(1)), []);
        assert_eq!(
            broken(|history| {
                history.received.reverse();
                history.received[2].log = "another".to_owned();
            }),
            []
        );
    }

    #[test]
    fn each_invariant_is_seen_to_break() {
        assert_eq!(broken(|history| drop(history.received.remove(1))), [Invariant::I1NoneLost]);
        assert_eq!(
            broken(|history| history.received.push(received(&entry("x", None, 0, false)))),
            [Invariant::I2NoPhantom]
        );
        assert_eq!(
            broken(|history| history.effects.push(Effect { id: "x".to_owned(), worker: 1 })),
            [Invariant::I2NoPhantom]
        );
        let copy = |history: &mut History| history.received.push(history.received[0].clone());
        assert_eq!(broken(copy), [Invariant::I4Duplicates]);
        assert_eq!(
            broken(|history| {
                copy(history);
                history.duplicates_allowed = 1;
            }),
            []
        );
        assert_eq!(broken(|history| history.dead.clear()), [Invariant::I5DeadLetters]);
        assert_eq!(broken(|history| history.dead.push(history.dead[0].clone())), [Invariant::I5DeadLetters]);
        assert_eq!(
            broken(|history| history.dead.push(dead(&history.committed[0]))),
            [Invariant::I5DeadLetters]
        );
        assert_eq!(
            broken(|history| history.received.push(received(&history.committed[3]))),
            [Invariant::I5DeadLetters]
        );
        assert_eq!(broken(|history| history.given_up = 1), [Invariant::I5DeadLetters]);
        assert_eq!(broken(|history| drop(history.effects.pop())), [Invariant::I6EffectsOnce]);
        assert_eq!(
            broken(|history| history.effects.push(history.effects[0].clone())),
            [Invariant::I6EffectsOnce]
        );
        assert_eq!(broken(|history| history.waiting = 1), [Invariant::I7Drains]);
        assert_eq!(broken(|history| history.mishaps.push("ended".to_owned())), [Invariant::I7Drains]);
        assert_eq!(broken(|history| history.stolen = 1), [Invariant::I8Fence]);
        let fail = |history: &mut History| history.failures.push("lock wait".to_owned());
        assert_eq!(broken(fail), [Invariant::I10Undisturbed]);
        let hold_up = |history: &mut History| history.held_up = Some("relay0 held up".to_owned());
        assert_eq!(broken(hold_up), [Invariant::I10Undisturbed]);
    }

    #[test]
    fn what_is_altered_is_seen() {
        for alter in [
            (|message: &mut Received| message.payload.push(0)) as fn(&mut Received),
            |message| message.account = None,
            |message| message.topic.push('x'),
            |message| message.version.push('1'),
        ] {
            assert_eq!(broken(|history| alter(&mut history.received[0])), [Invariant::I9Intact]);
        }
    }
}
