use std::time::{Duration, Instant};

/// Waits for a condition, and says how long that took.
pub(crate) async fn until(what: &str, limit: Duration, mut met: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !met().await {
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}
