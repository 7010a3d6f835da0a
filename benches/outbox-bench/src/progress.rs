//! What is being measured: a run takes long enough to wonder.

use std::fmt;
use std::io::{IsTerminal as _, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Begins a run of so many steps. Without a terminal there is a line for each thing that is measured.
pub(crate) fn begin(steps: usize) {
    if !stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(steps.try_into().unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg:40!}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let _ = BAR.set(bar);
}

/// Says what is being measured.
#[expect(clippy::print_stderr, reason = "so that the table stands alone on the other one")]
pub(crate) fn progress(what: fmt::Arguments<'_>) {
    match BAR.get() {
        Some(bar) => bar.set_message(what.to_string()),
        None => eprintln!("{what}"),
    }
}

/// A step is done.
pub(crate) fn step() {
    if let Some(bar) = BAR.get() {
        bar.inc(1);
    }
}

/// The run is over.
pub(crate) fn end() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}
