use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{BrokerConfigError, CommitHint};
use redis::{Value, cmd};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::RedisConfig;
use crate::link::Link;
use crate::wakeup::{ANSWER_LIMIT, hints};

/// At most one hint per this much time and process.
const INTERVAL: Duration = Duration::from_millis(5);

/// Tells relays in other processes that messages were committed. The other end is [`RedisWakeup`](crate::RedisWakeup).
///
/// Call [`RedisNotifier::notify`] after the commit, or give it to a writer by `with_hint`. It never waits and never fails: a
/// lost hint costs the relay one poll interval. Clones share one sender; it ends with the last of them.
#[derive(Clone)]
pub struct RedisNotifier {
    sender: Arc<Sender>,
}

struct Sender {
    wanted: Arc<Notify>,
    task: AbortHandle,
}

impl RedisNotifier {
    /// Starts the sender. It connects when there is something to say.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the name or a value of the configuration can't be used, or a file can't be read.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(config: &RedisConfig, service: &str) -> Result<Self, BrokerConfigError> {
        let (link, key) = hints(config, service)?;
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(run(link, key, Arc::clone(&wanted))).abort_handle();
        Ok(Self { sender: Arc::new(Sender { wanted, task }) })
    }

    /// Asks for a hint. Many calls at once become one or two.
    pub fn notify(&self) {
        self.sender.wanted.notify_one();
    }
}

async fn run(link: Link, key: String, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        if let Err(error) = send(&link, &key).await {
            tracing::debug!(error, "a hint could not be sent");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn send(link: &Link, key: &str) -> Result<(), String> {
    let connection = link.connection().await?;
    let mut add = cmd("XADD");
    // One entry is enough to say that there is something.
    add.arg(key).arg("MAXLEN").arg(1).arg("*").arg("w").arg(1);
    match timeout(ANSWER_LIMIT, add.query_async::<Value>(&mut connection.client())).await {
        Ok(added) => added.map(drop).map_err(|error| error.to_string()),
        Err(_) => {
            connection.stop();
            Err("Redis does not answer".to_owned())
        }
    }
}

/// In another process both hints are the same: who hears one looks at once, and then for a while in short steps.
impl CommitHint for RedisNotifier {
    fn expected(&self) {
        self.notify();
    }

    fn committed(&self) {
        self.notify();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RedisNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNotifier").finish_non_exhaustive()
    }
}
