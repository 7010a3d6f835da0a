use outbox_core::{StoreError, StoreErrorKind};

/// Older versions can corrupt a database when a checkpoint resets the write-ahead log while others read.
const OLDEST: &str = "3.51.3";

/// Asks the library for its version.
pub(crate) const QUESTION: &str = "SELECT sqlite_version()";

/// Refuses a SQLite library that is too old.
pub(crate) fn check(version: &str) -> Result<(), StoreError> {
    if numbers(version) >= numbers(OLDEST) {
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
        for version in ["3.51.3", "3.53.0", "3.100.0", "4.0"] {
            assert!(check(version).is_ok(), "{version}");
        }
        for version in ["3.51.2", "3.9.9", "2.100.100", ""] {
            assert!(check(version).is_err(), "{version}");
        }
    }
}
