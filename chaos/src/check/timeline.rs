use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::Violation;
use super::history::History;
use crate::log::Line;

/// How much of what happened around a message is shown.
const AROUND: Duration = Duration::from_secs(4);
/// How many of the violations of a run are explained: the first are as good as all.
const EXPLAINED: usize = 3;
/// How many messages of the same key are shown.
const NEIGHBOURS: i64 = 3;

/// The story of a message that something is wrong with: when it was written, where it went, and what was done to whom
/// meanwhile.
pub(crate) struct Timeline<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) begun: SystemTime,
    /// What the harness did.
    pub(crate) log: &'a [Line],
    pub(crate) history: &'a History,
}

impl Timeline<'_> {
    /// The stories of the first violations.
    pub(crate) fn of(&self, violations: &[Violation]) -> Result<String> {
        let mut text = String::new();
        for violation in violations.iter().take(EXPLAINED) {
            writeln!(text, "\n== {}: {}", violation.invariant, violation.text)?;
            match &violation.id {
                Some(id) => self.message(&mut text, id)?,
                None => self.injections(&mut text, None)?,
            }
        }
        if let Some(more @ 1..) = violations.len().checked_sub(EXPLAINED) {
            writeln!(text, "\n… and {more} more violations")?;
        }
        Ok(text)
    }

    fn message(&self, text: &mut String, id: &str) -> Result<()> {
        let history = self.history;
        writeln!(text, "message {id}")?;
        let entry = history.committed.iter().find(|entry| entry.id == id);
        match entry {
            Some(entry) => {
                let account = entry.account.as_deref().unwrap_or("no account");
                let size = entry.payload.len();
                writeln!(
                    text,
                    "  committed: {account}, version {}, topic {}, {size} bytes",
                    entry.version, entry.topic
                )?;
            }
            None => writeln!(text, "  was not committed")?,
        }
        let journal = self.journal(id);
        for (at, what) in &journal {
            writeln!(text, "  {:>8.3} s  its producer: {what}", at.as_secs_f64())?;
        }
        for (place, message) in history.received.iter().enumerate().filter(|(_, message)| message.id == id) {
            writeln!(text, "  the broker has it in {}, as message {place} of all", message.log)?;
        }
        if let Some(entry) = entry
            && let Some(account) = &entry.account
        {
            let of_account = history.received.iter().enumerate().filter_map(|(place, message)| {
                let near = history.committed.iter().find(|entry| entry.id == message.id)?;
                let same = near.account.as_ref() == Some(account);
                (same && (near.version - entry.version).abs() <= NEIGHBOURS).then_some((place, near.version))
            });
            let places: Vec<_> =
                of_account.map(|(place, version)| format!("version {version} at {place}")).collect();
            writeln!(text, "  its account in the broker: {}", places.join(", "))?;
        }
        for letter in history.dead.iter().filter(|letter| letter.id == id) {
            writeln!(text, "  a dead letter: {}", letter.reason)?;
        }
        for effect in history.effects.iter().filter(|effect| effect.id == id) {
            writeln!(text, "  an effect, of process {}", effect.worker)?;
        }
        self.logs(text, id)?;
        self.injections(text, journal.first().map(|(at, _)| *at))
    }

    /// What the processes logged about it.
    fn logs(&self, text: &mut String, id: &str) -> Result<()> {
        let Ok(id) = id.parse::<uuid::Uuid>() else { return Ok(()) };
        let id = id.hyphenated().to_string();
        for entry in fs::read_dir(self.folder)?.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "err") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let log = fs::read_to_string(&path).unwrap_or_default();
            for line in log.lines().filter(|line| line.contains(&id)).take(20) {
                writeln!(text, "  {name}: {line}")?;
            }
        }
        Ok(())
    }

    /// When its producer began, and what it was told in the end.
    fn journal(&self, id: &str) -> Vec<(Duration, String)> {
        let text = fs::read_to_string(self.folder.join("journal")).unwrap_or_default();
        let begun = self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = |line: &str| {
            let (at, rest) = line.split_once(' ')?;
            let (ids, what) = rest.split_once(' ')?;
            let at = Duration::from_millis(at.parse().ok()?).saturating_sub(begun);
            ids.split(',').any(|one| one == id).then(|| (at, what.to_owned()))
        };
        text.lines().filter_map(line).collect()
    }

    /// What was done to whom; all of it, or what was around a moment.
    fn injections(&self, text: &mut String, around: Option<Duration>) -> Result<()> {
        writeln!(text, "  meanwhile:")?;
        let near = |line: &&Line| around.is_none_or(|at| line.at + AROUND > at && line.at < at + 3 * AROUND);
        for line in self.log.iter().filter(near) {
            writeln!(text, "  {line}")?;
        }
        Ok(())
    }
}
