use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use outbox_core::{StoreError, Wakeup};
use outbox_sql::TableNames;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Executor, PgPool};

use super::backend::APPLICATION;
use super::channel::channel;
use super::notifier::send;
use super::pooler;
use crate::connections::{Connections, within};
use crate::error::store_error;

/// How long a notification may take to arrive at start-up.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Wakes the relay when another process says that it has committed messages: `LISTEN` on a connection of its own.
///
/// The other end is [`super::PostgresNotifier`]. Both derive the channel from the name of the table.
pub struct PostgresWakeup {
    /// For its options only; they are read again for each connection.
    pool: PgPool,
    channel: String,
    listener: Option<PgListener>,
    /// How long a connection may be silent before it is asked whether it still lives.
    silence: Duration,
    pause: Duration,
}

/// Why [`PostgresWakeup::connect`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WakeupError {
    /// The database can't be reached or refuses to listen.
    #[error("can't listen for notifications: {0}")]
    Store(#[source] StoreError),
    /// A transaction pooler is in between.
    #[error(
        "a transaction pooler is in between, which LISTEN can't pass: connect to the server itself or to a session pool, \
         or leave the wake-up out and let the relay poll"
    )]
    Pooler,
    /// A notification was sent and did not arrive.
    #[error(
        "a notification did not arrive within {} s; most likely a pooler is in between that LISTEN can't pass: connect to \
         the server itself, or leave the wake-up out and let the relay poll",
        within.as_secs()
    )]
    NotDelivered {
        /// For how long it was waited for.
        within: Duration,
    },
}

impl PostgresWakeup {
    /// Opens the connection, and makes sure that a notification which is sent through the pool arrives.
    ///
    /// Pass the writers' pool, since it is their notifications that are to arrive.
    ///
    /// # Errors
    ///
    /// [`WakeupError`]. The relay works without a wake-up, it polls then.
    ///
    /// # Cancel safety
    ///
    /// Yes: nothing stays behind.
    pub async fn connect(pool: &PgPool, names: &TableNames) -> Result<Self, WakeupError> {
        Self::connect_apart(pool, pool, names).await
    }

    /// The same for a listener that goes another way to the database than the writers: they may be behind a transaction
    /// pooler, which `NOTIFY` passes and `LISTEN` does not. The notification of the test is sent through the writers'
    /// pool.
    ///
    /// # Errors
    ///
    /// As [`PostgresWakeup::connect`]; [`WakeupError::NotDelivered`] also where the writers' pool leads to another database.
    ///
    /// # Cancel safety
    ///
    /// Yes: nothing stays behind.
    pub async fn connect_apart(
        pool: &PgPool,
        writers: &PgPool,
        names: &TableNames,
    ) -> Result<Self, WakeupError> {
        let (pool, channel) = (pool.clone(), channel(names));
        let mut wakeup = Self { pool, channel, listener: None, silence: SILENCE_LIMIT, pause: FIRST_PAUSE };
        // Before anything listens: through a pooler it would be somebody else's connection that gets the notifications.
        if pooler::detect(&Connections::from_pool(&wakeup.pool)).await.map_err(WakeupError::Store)? {
            return Err(WakeupError::Pooler);
        }
        wakeup.listen().await.map_err(WakeupError::store)?;
        send(writers, &wakeup.channel).await.map_err(WakeupError::store)?;
        match tokio::time::timeout(ARRIVAL_LIMIT, wakeup.receive()).await {
            Ok(Ok(())) => Ok(wakeup),
            Ok(Err(error)) => Err(WakeupError::store(error)),
            Err(_) => Err(WakeupError::NotDelivered { within: ARRIVAL_LIMIT }),
        }
    }

    /// How long the connection may be silent before it is asked whether it still lives: less than the time after which a
    /// firewall on the way forgets it. A connection that does not answer is replaced. Default 60 s.
    #[must_use]
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence = limit;
        self
    }

    /// The channel: what a program in another language passes to `NOTIFY`.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    async fn listen(&mut self) -> Result<(), sqlx::Error> {
        let options = (*self.pool.connect_options()).clone().application_name(APPLICATION);
        // The listener wants a pool. A new one each time: a connection that died in silence would block the old one.
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ANSWER_LIMIT)
            .connect_lazy_with(options);
        let connect = async {
            let mut listener = PgListener::connect_with(&own).await?;
            listener.eager_reconnect(false);
            listener.listen(&self.channel).await?;
            Ok(listener)
        };
        self.listener = Some(within(ANSWER_LIMIT, connect).await?);
        Ok(())
    }

    /// Waits for a notification, and takes along those that came with it.
    async fn receive(&mut self) -> Result<(), sqlx::Error> {
        let Some(listener) = &mut self.listener else {
            return Err(sqlx::Error::PoolClosed);
        };
        loop {
            match tokio::time::timeout(self.silence, listener.try_recv()).await {
                Ok(Ok(Some(_))) => break,
                Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())),
                Ok(Err(error)) => return Err(error),
                // A connection that a firewall has forgotten would be silent for ever.
                Err(_) => within(ANSWER_LIMIT, listener.execute("SELECT 1")).await.map(drop)?,
            }
        }
        loop {
            match listener.try_recv().now_or_never() {
                None => break,
                Some(Ok(Some(_))) => {}
                // Left alone, the listener would connect again in silence, and nobody would know what was missed.
                Some(Ok(None) | Err(_)) => {
                    self.listener = None;
                    break;
                }
            }
        }
        Ok(())
    }
}

impl WakeupError {
    fn store(error: sqlx::Error) -> Self {
        Self::Store(store_error("listen", error))
    }
}

#[async_trait]
impl Wakeup for PostgresWakeup {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn wait(&mut self) {
        loop {
            if self.listener.is_some() {
                match self.receive().await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(%error, "the connection that listens for notifications was lost");
                        self.listener = None;
                        self.pause = FIRST_PAUSE;
                    }
                }
            }
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            match self.listen().await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "can't listen for notifications"),
            }
        }
    }
}

impl fmt::Debug for PostgresWakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresWakeup").field("channel", &self.channel).finish_non_exhaustive()
    }
}
