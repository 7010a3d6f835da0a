use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use outbox::memory::Committed;
use outbox::{MessageId, OutboxMessage};

use crate::Counted;

/// What a worker knows of a commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// Its message.
    pub message: MessageId,
    /// How often the process ran for it.
    pub attempts: u32,
}

impl From<Committed<u64, MessageId>> for Commit {
    fn from(committed: Committed<u64, MessageId>) -> Self {
        Self { message: committed.output, attempts: committed.attempts }
    }
}

/// What was delivered, beside what was committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps that were committed.
    pub commits: usize,
    /// Attempts that another commit came before. Each had made a message.
    pub lost_attempts: usize,
    /// Messages of commits that arrived.
    pub delivered: usize,
    /// Messages that arrived again.
    pub duplicates: usize,
    /// Messages that arrived and belong to no commit.
    pub phantoms: usize,
    /// Messages of commits that did not arrive.
    pub missing: usize,
    /// Versions of a state that did not arrive right after the one before.
    pub gaps: usize,
}

impl Report {
    /// Compares what the workers committed with what the broker has.
    ///
    /// # Errors
    ///
    /// If something was delivered that is no message of this example.
    pub fn compare(commits: &[Commit], deliveries: &[OutboxMessage]) -> Result<Self> {
        let committed: HashSet<MessageId> = commits.iter().map(|commit| commit.message).collect();
        let mut missing = committed.clone();
        let attempts: usize = commits.iter().map(|commit| commit.attempts as usize).sum();
        let mut report =
            Self { commits: commits.len(), lost_attempts: attempts - commits.len(), ..Self::default() };
        let mut last_version: HashMap<String, u64> = HashMap::new();
        for message in deliveries {
            if !committed.contains(message.id()) {
                report.phantoms += 1;
            } else if !missing.remove(message.id()) {
                report.duplicates += 1;
            } else {
                report.delivered += 1;
                let Counted { key, version } = serde_json::from_slice(message.payload())?;
                let last = last_version.entry(key).or_default();
                report.gaps += usize::from(version != *last + 1);
                *last = version;
            }
        }
        report.missing = missing.len();
        Ok(report)
    }

    /// Whether the engine and the relay have kept their promise.
    ///
    /// # Errors
    ///
    /// If not, what was found.
    pub fn verdict(&self) -> Result<()> {
        let Self { phantoms, missing, gaps, .. } = self;
        ensure!((*phantoms, *missing, *gaps) == (0, 0, 0), "the promise is broken: {self:?}");
        ensure!(self.commits > 0, "nothing was tested: there are no commits");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(version: u64) -> OutboxMessage {
        OutboxMessage::event(&Counted { key: "a".to_owned(), version }).unwrap()
    }

    /// What is found if three commits are delivered with this change.
    fn report(change: impl FnOnce(&mut Vec<OutboxMessage>)) -> Report {
        let mut deliveries: Vec<_> = (1..=3).map(message).collect();
        let commit = |message: &OutboxMessage| Commit { message: *message.id(), attempts: 2 };
        let commits: Vec<_> = deliveries.iter().map(commit).collect();
        change(&mut deliveries);
        Report::compare(&commits, &deliveries).unwrap()
    }

    #[test]
    fn what_goes_wrong_is_found() {
        let fine = report(|_| {});
        assert_eq!((fine.commits, fine.lost_attempts, fine.delivered), (3, 3, 3));
        assert!(fine.verdict().is_ok());
        let phantom = report(|messages| messages.push(message(4)));
        assert_eq!((phantom.phantoms, phantom.verdict().is_err()), (1, true));
        let missing = report(|messages| drop(messages.pop()));
        assert_eq!((missing.missing, missing.verdict().is_err()), (1, true));
        let swapped = report(|messages| messages.swap(0, 1));
        assert!(swapped.gaps > 0 && swapped.verdict().is_err());
        let twice = report(|messages| messages.push(messages[0].clone()));
        assert_eq!((twice.duplicates, twice.delivered, twice.verdict().is_ok()), (1, 3, true));
        assert!(Report::default().verdict().is_err());
    }
}
