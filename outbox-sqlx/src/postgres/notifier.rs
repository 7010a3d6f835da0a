use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::CommitHint;
use outbox_sql::TableNames;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::channel::channel;
use crate::connections::within;

/// At most one notification per this much time and process: a `NOTIFY` takes a lock that all databases of the server
/// share until its commit.
const INTERVAL: Duration = Duration::from_millis(5);
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Tells relays in other processes that messages were committed. The other end is [`super::PostgresWakeup`].
///
/// Call [`PostgresNotifier::notify`] after the commit, or give it to a writer by `with_hint`. It never waits and never fails: a
/// lost hint costs the relay one poll interval. Clones share one sender; it ends with the last of them.
#[derive(Clone)]
pub struct PostgresNotifier {
    sender: Arc<Sender>,
}

struct Sender {
    wanted: Arc<Notify>,
    task: AbortHandle,
}

impl PostgresNotifier {
    /// Starts the sender. It takes a connection from the pool for each notification.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(pool: &PgPool, names: &TableNames) -> Self {
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(run(pool.clone(), channel(names), Arc::clone(&wanted))).abort_handle();
        Self { sender: Arc::new(Sender { wanted, task }) }
    }

    /// Asks for a notification. Many calls at once become one.
    pub fn notify(&self) {
        self.sender.wanted.notify_one();
    }
}

async fn run(pool: PgPool, channel: String, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        if let Err(error) = within(SEND_LIMIT, send(&pool, &channel)).await {
            tracing::debug!(%error, "a notification could not be sent");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Sends one notification, in a transaction of its own.
pub(super) async fn send(pool: &PgPool, channel: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, '')").bind(channel).persistent(false).execute(pool).await?;
    Ok(())
}

/// In another process both hints are the same: who hears a notification looks at once, and then for a while in short steps.
impl CommitHint for PostgresNotifier {
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

impl fmt::Debug for PostgresNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresNotifier").finish_non_exhaustive()
    }
}
