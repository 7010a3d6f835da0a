use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use outbox::relay::PublishPath;

use crate::lanes::Call;
use crate::reader::Record;
use crate::scrape::Scrape;

/// What was counted in each place: by the callers, by `/metrics`, and by a reader of the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls of the publisher.
    pub calls: u64,
    /// Those that ended with an error.
    pub failed: u64,
    /// Messages that were published at once, as the callers were told.
    pub direct: u64,
    /// Messages that went to the outbox instead, as the callers were told.
    pub fallback: u64,
    /// The same three, and those that the relay has published, as `/metrics` says.
    pub counted: Counted,
    /// Records in the topic.
    pub records: u64,
    /// Those of them that lie there once more.
    pub copies: u64,
    /// Those whose message went to the outbox: only of them there may be copies.
    pub copies_of_fallback: u64,
    /// Messages without a record.
    pub missing: u64,
    /// Records of messages that nobody has published.
    pub foreign: u64,
    /// Scans of a gate whose first record lies behind that of a later one.
    pub out_of_order: u64,
    /// Messages left in the outbox or in its dead letters.
    pub left: u64,
}

/// What `/metrics` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Published at once.
    pub direct: u64,
    /// Stored instead.
    pub fallback: u64,
    /// Published by the relay.
    pub relayed: u64,
    /// Tries whose outcome nobody knows, of both.
    pub unknown: u64,
}

impl Counted {
    /// What was counted between two looks.
    #[must_use]
    pub fn between(before: &Scrape, after: &Scrape) -> Self {
        let published = |path: &str| {
            let sum = |scrape: &Scrape| scrape.sum("outbox_published_total", &[&format!("path=\"{path}\"")]);
            sum(after) - sum(before)
        };
        let unknown = |scrape: &Scrape| scrape.sum("outbox_publish_errors_total", &["kind=\"unknown\""]);
        Self {
            direct: published("direct"),
            fallback: published("fallback"),
            relayed: published("relayed"),
            unknown: unknown(after) - unknown(before),
        }
    }
}

impl Report {
    /// Compares what the callers were told with what was counted and what lies in the topic.
    #[must_use]
    pub fn compare(calls: &[Call], counted: Counted, records: &[Record], left: u64) -> Self {
        let of = |path| calls.iter().filter(|call| call.path == path).count() as u64;
        let paths: HashMap<&str, Option<PublishPath>> =
            calls.iter().map(|call| (call.id.as_str(), call.path)).collect();
        let mut report = Self {
            calls: calls.len() as u64,
            failed: of(None),
            direct: of(Some(PublishPath::Direct)),
            fallback: of(Some(PublishPath::Fallback)),
            counted,
            records: records.len() as u64,
            left,
            ..Self::default()
        };
        let mut seen = HashSet::new();
        let mut last: HashMap<&str, u64> = HashMap::new();
        for record in records {
            let Some(path) = paths.get(record.id.as_str()) else {
                report.foreign += 1;
                continue;
            };
            if !seen.insert(record.id.as_str()) {
                report.copies += 1;
                report.copies_of_fallback += u64::from(*path == Some(PublishPath::Fallback));
            } else if let Some(gate) = &record.scan.gate {
                let last = last.entry(gate).or_default();
                report.out_of_order += u64::from(record.scan.number < *last);
                *last = record.scan.number.max(*last);
            }
        }
        report.missing = (paths.len() - seen.len()) as u64;
        report
    }

    /// Whether it all adds up.
    ///
    /// # Errors
    ///
    /// If not, which sum is wrong.
    pub fn verdict(&self) -> Result<()> {
        let Self { counted, .. } = self;
        let is = |what: &str, found: u64, expected: u64| {
            ensure!(found == expected, "{what}: {found}, not {expected}; {self:?}");
            Ok(())
        };
        ensure!(self.calls > 0, "nothing was tested: there are no calls");
        is("calls that failed", self.failed, 0)?;
        is("messages that are missing", self.missing, 0)?;
        is("records of nobody", self.foreign, 0)?;
        is("scans out of their order", self.out_of_order, 0)?;
        is("messages that are left", self.left, 0)?;
        is("direct and fallback", self.direct + self.fallback, self.calls)?;
        is("direct, as counted", counted.direct, self.direct)?;
        is("fallback, as counted", counted.fallback, self.fallback)?;
        is("relayed, as counted", counted.relayed, self.fallback)?;
        is("records", self.records, counted.direct + counted.relayed + self.copies)?;
        // A copy comes of a try whose outcome is unknown, and of nothing else.
        is("copies of what was stored", self.copies_of_fallback, self.copies)?;
        ensure!(self.copies <= counted.unknown, "{} copies of {} tries", self.copies, counted.unknown);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::ParcelScanned;

    const FINE: Counted = Counted { direct: 2, fallback: 1, relayed: 1, unknown: 1 };

    fn record(number: u64) -> Record {
        let scan = ParcelScanned { gate: Some("gate-1".to_owned()), number };
        Record { id: number.to_string(), key: scan.gate.clone(), scan }
    }

    /// What is found after three calls, of which the last went to the outbox, with this change.
    fn report(counted: Counted, change: impl FnOnce(&mut Vec<Call>, &mut Vec<Record>)) -> Report {
        let call = |number: u64, path| Call {
            id: number.to_string(),
            at: Instant::now(),
            took: Duration::ZERO,
            path: Some(path),
        };
        let mut calls =
            vec![call(0, PublishPath::Direct), call(1, PublishPath::Direct), call(2, PublishPath::Fallback)];
        let mut records: Vec<_> = (0..3).map(record).collect();
        change(&mut calls, &mut records);
        Report::compare(&calls, counted, &records, 0)
    }

    #[test]
    fn what_does_not_add_up_is_found() {
        assert!(report(FINE, |_, _| {}).verdict().is_ok());
        let broken = |counted, change: fn(&mut Vec<Call>, &mut Vec<Record>)| {
            report(counted, change).verdict().unwrap_err().to_string()
        };
        for (change, found) in [
            (
                (|calls, _| calls[0].path = None) as fn(&mut Vec<Call>, &mut Vec<Record>),
                "calls that failed: 1",
            ),
            (|_, records| drop(records.pop()), "messages that are missing: 1"),
            (|_, records| records.push(record(3)), "records of nobody: 1"),
            (|_, records| records.swap(0, 1), "scans out of their order: 1"),
            // A copy of what was published at once.
            (|_, records| records.push(record(0)), "copies of what was stored: 0"),
        ] {
            let text = broken(FINE, change);
            assert!(text.starts_with(found), "{text}");
        }
        for (counted, found) in [
            (Counted { direct: 1, ..FINE }, "direct, as counted: 1"),
            (Counted { fallback: 2, ..FINE }, "fallback, as counted: 2"),
            (Counted { relayed: 0, ..FINE }, "relayed, as counted: 0"),
        ] {
            let text = broken(counted, |_, _| {});
            assert!(text.starts_with(found), "{text}");
        }
        assert!(Report::default().verdict().is_err());
        assert!(Report { left: 1, ..report(FINE, |_, _| {}) }.verdict().is_err());
    }

    #[test]
    fn a_copy_needs_a_try_whose_outcome_is_unknown() {
        let copied = |unknown| {
            let counted = Counted { unknown, ..FINE };
            report(counted, |_, records| records.push(record(2))).verdict().is_ok()
        };
        assert!(copied(1) && !copied(0));
    }
}
