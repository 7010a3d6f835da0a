//! What a campaign came to, as tables.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};

use crate::results::Record;

/// One line for each pair of database and broker, one for all, and the faults.
pub(crate) fn campaign(records: &[Record]) -> String {
    let mut pairs: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for record in records {
        pairs.entry((record.store, record.transport)).or_default().push(record);
    }
    let mut table = markdown();
    table.set_header([
        "database",
        "broker",
        "runs",
        "injections",
        "committed",
        "second copies",
        "explained at most",
        "worst share",
        "drained, longest",
        "stale settles refused",
        "late commits",
        "violations",
    ]);
    for ((store, transport), records) in &pairs {
        table.add_row(line(name(store), name(transport), records));
    }
    if pairs.len() > 1 {
        table.add_row(line("all".to_owned(), String::new(), &records.iter().collect::<Vec<_>>()));
    }
    format!("{table}\n\n{}", faults(records))
}

fn line(store: String, transport: String, records: &[&Record]) -> Vec<String> {
    let sum = |of: fn(&Record) -> u64| records.iter().map(|record| of(record)).sum::<u64>().to_string();
    let worst = records.iter().filter(|record| record.duplicates_allowed > 0);
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let worst = worst.map(|record| 100.0 * record.duplicates as f64 / record.duplicates_allowed as f64);
    let longest = records.iter().map(|record| record.drained_ms).max().unwrap_or(0);
    vec![
        store,
        transport,
        records.len().to_string(),
        sum(Record::injected),
        sum(|record| record.committed as u64),
        sum(|record| record.duplicates as u64),
        sum(|record| record.duplicates_allowed as u64),
        format!("{:.0} %", worst.fold(0.0, f64::max)),
        format!("{}.{} s", longest / 1_000, longest % 1_000 / 100),
        sum(|record| record.relays.stale_settles),
        sum(|record| record.relays.late_commits),
        sum(|record| record.violations.len() as u64),
    ]
}

fn faults(records: &[Record]) -> Table {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (fault, count) in records.iter().flat_map(|record| &record.injections) {
        *counts.entry(fault).or_default() += u64::from(*count);
    }
    let mut table = markdown();
    table.set_header(["fault", "injections"]);
    for (fault, count) in counts {
        table.add_row([fault.to_owned(), count.to_string()]);
    }
    table
}

/// In a form that a page can have.
pub(crate) fn markdown() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table
}

/// As it is written on the command line.
pub(crate) fn name(kind: &impl clap::ValueEnum) -> String {
    kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
