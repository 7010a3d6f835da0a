use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, by the one clock that all processes of a machine read alike.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
