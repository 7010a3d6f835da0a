use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// What happened when, if anybody wants to read it.
#[derive(Clone, Default)]
pub(super) struct Journal {
    entries: Option<Arc<Mutex<Entries>>>,
}

#[derive(Default)]
struct Entries {
    begun: Option<Instant>,
    lines: Vec<(Duration, String)>,
}

/// What has to be seen of a long history.
const SHOWN: usize = 200;

impl Journal {
    /// One that nobody reads, and that costs nothing.
    pub(super) fn closed() -> Self {
        Self::default()
    }

    pub(super) fn open() -> Self {
        Self { entries: Some(Arc::default()) }
    }

    pub(super) fn note(&self, text: impl FnOnce() -> String) {
        let Some(entries) = &self.entries else {
            return;
        };
        let (text, now) = (text(), Instant::now());
        let mut entries = entries.lock().unwrap();
        let begun = *entries.begun.get_or_insert(now);
        entries.lines.push((now - begun, text));
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(entries) = &self.entries else {
            return Ok(());
        };
        let entries = entries.lock().unwrap();
        let hidden = entries.lines.len().saturating_sub(SHOWN);
        for (number, (time, text)) in entries.lines.iter().enumerate() {
            // The end says most, and the beginning how it came about.
            match number {
                number if number < SHOWN / 2 || number >= SHOWN / 2 + hidden => {
                    writeln!(f, "{:>11.3} s  {text}", time.as_secs_f64())?;
                }
                number if number == SHOWN / 2 => writeln!(f, "              … {hidden} lines …")?,
                _ => {}
            }
        }
        Ok(())
    }
}
