use std::collections::HashMap;
use std::{fmt, fs};

use anyhow::{Context, Result};

use super::processes::Processes;
use crate::run::Run;
use crate::service::{billing, orders, shipping};

const SERVICES: [&str; 3] = [orders::NAME, billing::NAME, shipping::NAME];

/// What became of the tries of each service.
pub(super) struct Tries {
    counts: HashMap<(String, String), u64>,
    kills: HashMap<&'static str, u64>,
}

impl Tries {
    pub(super) fn read(run: &Run, processes: &Processes) -> Result<Self> {
        let mut counts = HashMap::new();
        let book = fs::read_to_string(run.book()).context("the book of the tries")?;
        for (service, what) in book.lines().filter_map(|line| line.split_once(' ')) {
            *counts.entry((service.to_owned(), what.to_owned())).or_default() += 1;
        }
        let kills = SERVICES.map(|service| (service, processes.kills_of(service))).into();
        Ok(Self { counts, kills })
    }

    fn count(&self, service: &str, what: &str) -> u64 {
        self.counts.get(&(service.to_owned(), what.to_owned())).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>10}{:>14}{:>20}{:>10}{:>10}",
            "", "applied", "failed tries", "duplicates handled", "aborts", "kills"
        )?;
        for service in SERVICES {
            let [applied, failed, duplicates, aborts] =
                ["applied", "failed", "duplicate", "aborted"].map(|what| self.count(service, what));
            let kills = self.kills.get(service).copied().unwrap_or(0);
            writeln!(f, "{service:<10}{applied:>10}{failed:>14}{duplicates:>20}{aborts:>10}{kills:>10}")?;
        }
        Ok(())
    }
}
