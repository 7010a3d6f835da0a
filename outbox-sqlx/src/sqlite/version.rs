use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Session;
use sqlx::Sqlite;

use crate::connections::Connections;
use crate::error::store_error;

/// Older versions can corrupt a database when a checkpoint resets the write-ahead log while others read.
const OLDEST: &str = "3.51.3";

/// Refuses a SQLite library that is too old.
pub(crate) async fn check(connections: &Connections<Sqlite>) -> Result<(), StoreError> {
    let mut lent = connections.reader(Session::Control).await?;
    let version =
        sqlx::query_scalar::<_, String>("SELECT sqlite_version()").fetch_one(lent.connection()).await;
    let version = version.map_err(|error| store_error("check", error))?;
    lent.give_back();
    if numbers(&version) >= numbers(OLDEST) {
        return Ok(());
    }
    let text = format!(
        "SQLite {version} is too old: before {OLDEST} a reset of the write-ahead log can corrupt the database"
    );
    Err(StoreError::new(StoreErrorKind::Invalid, "check", text))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("3.51.3") >= numbers(OLDEST));
        assert!(numbers("3.53.0") > numbers(OLDEST));
        assert!(numbers("3.100.0") > numbers(OLDEST));
        assert!(numbers("3.51.2") < numbers(OLDEST));
        assert!(numbers("3.9.9") < numbers(OLDEST));
    }
}
