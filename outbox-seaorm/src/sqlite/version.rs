use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Session;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::connections::Connections;

/// Older versions can corrupt a database when a checkpoint resets the write-ahead log while others read.
const OLDEST: &str = "3.51.3";

/// Refuses a SQLite library that is too old.
pub(crate) async fn check(connections: &Connections) -> Result<(), StoreError> {
    let lent = connections.reader(Session::Control).await?;
    let connection = lent.connection();
    let read = async move {
        let statement = Statement::from_string(DbBackend::Sqlite, "SELECT sqlite_version()");
        match connection.query_one_raw(statement).await? {
            Some(row) => row.try_get_by::<String, _>(0),
            None => Ok(String::new()),
        }
    };
    let (version, lent) = lent.run("check", None, read).await?;
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
