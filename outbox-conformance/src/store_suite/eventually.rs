use std::time::Duration;

use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = Patience::new();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        patience.pause(what).await;
    }
}

/// The limit of a loop that waits for something, where a closure would not be `Send`.
#[derive(Debug)]
pub(crate) struct Patience {
    ends: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { ends: Instant::now() + LIMIT }
    }

    pub(crate) async fn pause(&self, what: &str) {
        assert!(Instant::now() < self.ends, "waited in vain: {what}");
        sleep(PAUSE).await;
    }
}
