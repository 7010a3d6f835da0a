use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde::Serialize;

/// Where results go. Everything else (logs, errors) goes to standard error, so that what a script reads is only this.
pub(crate) struct Output {
    writer: Box<dyn Write>,
    json: bool,
}

impl Output {
    pub(crate) fn new(writer: impl Write + 'static, json: bool) -> Self {
        Self { writer: Box::new(writer), json }
    }

    /// Prints the value as one line of JSON, or else what people read.
    pub(crate) fn print<T: Display>(
        &mut self,
        value: &impl Serialize,
        for_people: impl FnOnce() -> T,
    ) -> Result<()> {
        if self.json {
            let line = serde_json::to_string(value)?;
            writeln!(self.writer, "{line}")?;
        } else {
            writeln!(self.writer, "{}", for_people())?;
        }
        self.writer.flush()?;
        Ok(())
    }
}

/// An empty table with these headings.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(headings);
    table
}

/// `3s`, `2m 5s`; below a second in milliseconds.
pub(crate) fn span(duration: Duration) -> String {
    let exact = if duration < Duration::from_secs(1) {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(0))
    } else {
        Duration::from_secs(duration.as_secs())
    };
    humantime::format_duration(exact).to_string()
}

/// `2026-01-31T12:00:00Z`.
pub(crate) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Without what would move the cursor of the terminal that shows it: writers in other languages may store anything.
pub(crate) fn visible(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// What a table shows where there is nothing.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| visible(&text.to_string()))
}
