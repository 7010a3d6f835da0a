use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Ours beside one rival, as the other benches write it: the rival is in `variant`, and its figure in `raw`.
#[derive(Debug, Serialize)]
struct Row {
    bench: &'static str,
    store: &'static str,
    orm: &'static str,
    transport: &'static str,
    variant: String,
    ours: f64,
    raw: f64,
    ratio: f64,
    unit: &'static str,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn push(
        &mut self,
        (bench, transport): (&'static str, &'static str),
        variant: String,
        (ours, raw): (f64, f64),
        unit: &'static str,
    ) {
        let row = Row {
            bench,
            store: "postgres",
            orm: "sqlx",
            transport,
            variant,
            ours,
            raw,
            ratio: ours / raw,
            unit,
        };
        self.rows.push(row);
    }

    /// As a table that can be pasted into a page.
    #[expect(clippy::print_stdout, reason = "the figures are what a run is for")]
    pub(crate) fn print(&self, facts: &[(String, String)]) {
        for (name, value) in facts {
            println!("{name}: {value}");
        }
        println!("\n| bench | rival | ours | theirs | ours / theirs | unit |");
        println!("|---|---|---:|---:|---:|---|");
        for Row { bench, variant, ours, raw, ratio, unit, .. } in &self.rows {
            let decimals = if ours.min(*raw) < 100.0 { 2 } else { 0 };
            println!("| {bench} | {variant} | {ours:.decimals$} | {raw:.decimals$} | {ratio:.2} | {unit} |");
        }
    }

    /// As a JSON array.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.rows)?;
        std::fs::write(file, text).with_context(|| file.display().to_string())
    }
}

/// Says how far a run is.
#[expect(clippy::print_stderr, reason = "a run takes long enough to wonder")]
pub(crate) fn progress(line: fmt::Arguments<'_>) {
    eprintln!("{line}");
}
