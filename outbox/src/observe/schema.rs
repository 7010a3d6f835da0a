use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::StoreErrorKind;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::check::{Check, CheckState, written};
use crate::Store;

/// What is known of the database, from looking at it at intervals.
#[derive(Debug, Clone)]
pub(super) struct DatabaseState {
    pub(super) database: Check,
    pub(super) schema: Check,
}

impl DatabaseState {
    pub(super) fn unknown() -> Self {
        let check = |name: &str| Check::new(name, CheckState::Unknown).detail("not looked at yet");
        Self { database: check("database"), schema: check("schema") }
    }

    /// What a look has found; failures keep the time of the first in a row.
    fn after(&self, answer: Result<(), (StoreErrorKind, String)>, now: SystemTime) -> Self {
        let failed = |before: &Check, error: &str| {
            let mut check = Check::new(before.name.clone(), CheckState::Failed);
            check.since = before.since.clone().or_else(|| Some(written(now)));
            check.error = Some(error.to_owned());
            check
        };
        match answer {
            Ok(()) => Self { database: Check::ok("database"), schema: Check::ok("schema") },
            Err((StoreErrorKind::NotMigrated | StoreErrorKind::SchemaVersion, error)) => {
                Self { database: Check::ok("database"), schema: failed(&self.schema, &error) }
            }
            // It says nothing about the tables.
            Err((_, error)) => Self { database: failed(&self.database, &error), schema: self.schema.clone() },
        }
    }
}

/// Looks at the database at intervals, until the task is ended.
pub(super) async fn look(
    store: Arc<dyn Store>,
    interval: Duration,
    timeout: Duration,
    state: watch::Sender<DatabaseState>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = match tokio::time::timeout(timeout, store.check()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err((error.kind(), error.to_string())),
            Err(_elapsed) => {
                Err((StoreErrorKind::Unavailable, format!("check: no answer within {timeout:?}")))
            }
        };
        let after = state.borrow().after(answer, SystemTime::now());
        state.send_replace(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_beginning_and_an_outage_says_nothing_of_the_tables() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let missing = || Err((StoreErrorKind::NotMigrated, "no tables".to_owned()));
        let away = || Err((StoreErrorKind::Unavailable, "away".to_owned()));
        let first = DatabaseState::unknown().after(missing(), at(0));
        assert!(first.database.is_ok() && !first.schema.is_ok());
        let later = first.after(missing(), at(60)).after(away(), at(120));
        assert_eq!(later.schema.since.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(later.database.since.as_deref(), Some("1970-01-01T00:02:00Z"));
        assert_eq!(later.database.error.as_deref(), Some("away"));
        let well = later.after(Ok(()), at(180)).after(away(), at(240));
        assert_eq!(well.database.since.as_deref(), Some("1970-01-01T00:04:00Z"));
        assert!(well.schema.is_ok());
    }
}
