use std::time::{Duration, Instant};

/// Waits for a condition, and says how long that took.
pub(crate) fn until(what: &str, limit: Duration, mut met: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !met() {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    started.elapsed()
}

/// Waits for a value.
pub(crate) fn until_some<T>(what: &str, limit: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, limit, || {
        found = find();
        found.is_some()
    });
    found.unwrap()
}

/// Watches for a whole time that something stays true.
pub(crate) fn throughout(time: Duration, mut check: impl FnMut()) {
    let started = Instant::now();
    while started.elapsed() < time {
        check();
        std::thread::sleep(Duration::from_millis(100));
    }
}
