use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::plot::{Plot, bars};
pub(crate) use crate::progress::progress;

/// One figure of ours beside the one of the bare loop.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    /// What was measured.
    pub(crate) bench: &'static str,
    /// The database.
    pub(crate) store: &'static str,
    /// The database client.
    pub(crate) orm: &'static str,
    /// The broker.
    pub(crate) transport: &'static str,
    /// What else sets it apart.
    pub(crate) variant: String,
    /// With the outbox.
    pub(crate) ours: Option<f64>,
    /// With the bare loop.
    pub(crate) raw: Option<f64>,
    /// Of both figures.
    pub(crate) unit: &'static str,
}

impl Measurement {
    /// How much of the bare loop's figure is left; 1 is all of it.
    fn ratio(&self) -> Option<f64> {
        Some(self.ours? / self.raw?)
    }

    /// Its name and its ratio, where that says how much of the bare loop's speed is left.
    fn bar(&self) -> Option<(String, f64)> {
        let speed = ["msg/s", "tx/s"].contains(&self.unit);
        let Self { bench, store, orm, transport, variant, .. } = self;
        let ratio = self.ratio().filter(|_| speed)?;
        Some((format!("{bench}, {store}, {orm}, {transport}: {variant}"), ratio))
    }

    /// Speeds are large numbers, shares small ones.
    fn decimals(&self) -> usize {
        if self.ours.or(self.raw).is_some_and(|value| value < 100.0) { 2 } else { 0 }
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measurements: Vec<Measurement>,
    plots: Vec<Plot>,
}

/// A row of the file.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    measurement: &'a Measurement,
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn push(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }

    pub(crate) fn plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// A bar for each ratio, and the plots of the benches, each with the name of its file.
    pub(super) fn pictures(&self) -> Vec<(String, String)> {
        let ratios: Vec<_> = self.measurements.iter().filter_map(Measurement::bar).collect();
        let all = bars("Ours against the bare loop: 1 is as fast", &ratios);
        let plots = self.plots.iter().map(|plot| (format!("{}.svg", plot.name), plot.svg()));
        std::iter::once(("ratios.svg".to_owned(), all)).chain(plots).collect()
    }

    /// As a table that can be pasted into a page.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header([
            "bench",
            "store",
            "orm",
            "transport",
            "variant",
            "ours",
            "raw",
            "ratio",
            "unit",
        ]);
        for column in 5..=7 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.measurements {
            table.add_row([
                row.bench,
                row.store,
                row.orm,
                row.transport,
                &row.variant,
                &figure(row.ours, row.decimals()),
                &figure(row.raw, row.decimals()),
                &figure(row.ratio(), 2),
                row.unit,
            ]);
        }
        table.to_string()
    }

    /// As a JSON array.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let rows: Vec<_> = self
            .measurements
            .iter()
            .map(|measurement| Row { ratio: measurement.ratio(), measurement })
            .collect();
        std::fs::write(file, serde_json::to_string_pretty(&rows)?).with_context(|| file.display().to_string())
    }
}

/// Messages per second.
pub(crate) fn rate(messages: u32, time: Duration) -> f64 {
    f64::from(messages) / time.as_secs_f64()
}

/// A number with its thousands set apart.
fn figure(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(figure(Some(1_234_567.4), 0), "1,234,567");
        assert_eq!(figure(Some(999.0), 0), "999");
        assert_eq!(figure(Some(0.914), 2), "0.91");
        assert_eq!(figure(None, 2), "-");
    }

    #[test]
    fn a_ratio_needs_both_figures() {
        let mut measurement = Measurement {
            bench: "drain",
            store: "sqlite",
            orm: "sqlx",
            transport: "none",
            variant: String::new(),
            ours: None,
            raw: Some(200.0),
            unit: "msg/s",
        };
        assert_eq!(measurement.ratio(), None);
        measurement.ours = Some(150.0);
        let row = Row { ratio: measurement.ratio(), measurement: &measurement };
        let json = serde_json::to_value(row).unwrap();
        assert_eq!(
            (&json["ratio"], &json["store"]),
            (&serde_json::json!(0.75), &serde_json::json!("sqlite"))
        );
    }
}
