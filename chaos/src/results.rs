//! The results of a campaign: a line of JSON for each run, so that a long one can be interrupted and gone on with.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::brokers::BrokerKind;
use crate::check::Violation;
use crate::stores::StoreKind;

/// A run that has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    pub(crate) transport: BrokerKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sabotage: Option<String>,
    pub(crate) seconds: u64,
    /// How often each fault was injected.
    pub(crate) injections: BTreeMap<String, u32>,
    /// Messages that were committed; of these the broker refuses some.
    pub(crate) committed: usize,
    pub(crate) refused: usize,
    /// Messages that the broker has, second copies among them.
    pub(crate) received: usize,
    pub(crate) duplicates: usize,
    pub(crate) duplicates_allowed: usize,
    pub(crate) effects: usize,
    /// From the end of the trouble until the outbox was empty.
    pub(crate) drained_ms: u64,
    /// Processes that have ended by themselves and were started again.
    pub(crate) restarts: u32,
    pub(crate) relays: RelayFigures,
    pub(crate) violations: Vec<Violation>,
}

/// What the relays counted that were told to end; those that were killed have told nobody.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct RelayFigures {
    pub(crate) stale_settles: u64,
    pub(crate) leases_lost: u64,
    pub(crate) late_commits: u64,
    pub(crate) unknown: u64,
}

impl RelayFigures {
    /// From the lines that they have printed.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut figures = Self::default();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with("relay") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in text.lines().filter_map(|line| serde_json::from_str::<Self>(line).ok()) {
                figures.stale_settles += line.stale_settles;
                figures.leases_lost += line.leases_lost;
                figures.late_commits += line.late_commits;
                figures.unknown += line.unknown;
            }
        }
        figures
    }
}

/// What makes a run the same as another.
pub(crate) type Identity = (u64, StoreKind, BrokerKind, Option<String>);

impl Record {
    pub(crate) fn identity(&self) -> Identity {
        (self.seed, self.store, self.transport, self.sabotage.clone())
    }

    pub(crate) fn injected(&self) -> u64 {
        self.injections.values().map(|count| u64::from(*count)).sum()
    }
}

/// A file of results, or none.
pub(crate) struct Results {
    path: Option<PathBuf>,
    pub(crate) records: Vec<Record>,
}

impl Results {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let records = match path {
            Some(path) if path.exists() => read(path)?,
            _ => Vec::new(),
        };
        Ok(Self { path: path.map(Path::to_owned), records })
    }

    pub(crate) fn done(&self) -> HashSet<Identity> {
        self.records.iter().map(Record::identity).collect()
    }

    pub(crate) fn add(&mut self, record: Record) -> Result<()> {
        if let Some(path) = &self.path {
            let mut file = fs::File::options().create(true).append(true).open(path)?;
            // In one piece: another campaign may write to the same file.
            file.write_all(format!("{}\n", serde_json::to_string(&record)?).as_bytes())?;
        }
        self.records.push(record);
        Ok(())
    }
}

/// The runs in a file.
///
/// # Errors
///
/// A line that is no run, with its number; the last one may be half written.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))
    };
    whole.lines().filter(|line| !line.is_empty()).enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: u64) -> Record {
        Record {
            seed,
            store: StoreKind::Postgres,
            transport: BrokerKind::Nats,
            sabotage: None,
            seconds: 20,
            injections: BTreeMap::from([("relay-kill".to_owned(), 2)]),
            committed: 10,
            refused: 1,
            received: 9,
            duplicates: 0,
            duplicates_allowed: 512,
            effects: 9,
            drained_ms: 700,
            restarts: 0,
            relays: RelayFigures::default(),
            violations: Vec::new(),
        }
    }

    #[test]
    fn a_campaign_goes_on_where_it_was_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let mut results = Results::open(Some(&path)).unwrap();
        results.add(record(1)).unwrap();
        results.add(record(2)).unwrap();
        fs::File::options().append(true).open(&path).unwrap().write_all(b"{\"seed\":3,").unwrap();
        let again = Results::open(Some(&path)).unwrap();
        assert_eq!(again.records.len(), 2);
        assert!(again.done().contains(&record(2).identity()));
        assert!(!again.done().contains(&record(3).identity()));
        fs::write(&path, "no run\n").unwrap();
        assert!(Results::open(Some(&path)).is_err());
    }
}
