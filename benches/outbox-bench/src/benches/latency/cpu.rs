//! The time that threads have run, as Linux counts it.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// Threads of a process, less some.
pub(super) struct Threads {
    folder: PathBuf,
    /// Those that do not count.
    others: HashSet<String>,
}

/// The thread that keeps the schedule: begun later than the relay, and no part of it.
pub(super) const SCHEDULE: &str = "schedule";

impl Threads {
    /// All of another process.
    pub(super) fn of(process: u32) -> Self {
        Self { folder: format!("/proc/{process}/task").into(), others: HashSet::new() }
    }

    /// Those of this process that are begun from now on.
    pub(super) fn begun_from_now_on() -> Result<Self> {
        let mut threads = Self { folder: "/proc/self/task".into(), others: HashSet::new() };
        threads.others = threads.ids()?.collect();
        Ok(threads)
    }

    /// How long they have run, those that live.
    pub(super) fn time(&self) -> Result<Duration> {
        let mut sum = 0;
        for thread in self.ids()?.filter(|thread| !self.others.contains(thread)) {
            let of = |file| fs::read_to_string(self.folder.join(&thread).join(file));
            // It may have ended meanwhile.
            if let (Ok(name), Ok(times)) = (of("comm"), of("schedstat"))
                && name.trim() != SCHEDULE
            {
                let running = times.split(' ').next().unwrap_or_default();
                sum += running.parse::<u64>().with_context(|| format!("schedstat is {times:?}"))?;
            }
        }
        Ok(Duration::from_nanos(sum))
    }

    fn ids(&self) -> Result<impl Iterator<Item = String> + use<>> {
        let entries = fs::read_dir(&self.folder).with_context(|| self.folder.display().to_string())?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
    }
}
