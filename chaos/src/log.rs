//! What the harness did, and when.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One thing that was done.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// After the start of the run.
    pub(crate) at: Duration,
    pub(crate) text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.3} s  {}", self.at.as_secs_f64(), self.text)
    }
}

/// Shared by all who do something.
pub(crate) struct Log {
    begun: Instant,
    lines: Mutex<Vec<Line>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), lines: Mutex::new(Vec::new()) }
    }

    pub(crate) fn add(&self, text: impl Into<String>) {
        let line = Line { at: self.begun.elapsed(), text: text.into() };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
