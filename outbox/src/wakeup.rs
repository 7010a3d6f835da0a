use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Finding, StoreError, StoreErrorKind, Wakeup};
use outbox_sql::TableNames;
use outbox_sqlx::{PostgresWakeup, WakeupError};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// [`PostgresWakeup`] for a relay that starts by configuration: the database may not be there yet, and where `LISTEN`
/// does not work the relay is to poll, and to say so.
pub(crate) struct Listening {
    pool: PgPool,
    names: TableNames,
    state: State,
}

/// One connection to the PostgreSQL at a URL, which is made when it is asked for. `None` if this is another database.
pub(crate) fn lazy_pool(url: &str, idle_timeout: Duration) -> Result<Option<PgPool>, StoreError> {
    if !matches!(crate::scheme::scheme_of(url).as_deref(), Some("postgres" | "postgresql")) {
        return Ok(None);
    }
    let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| {
        StoreError::new(StoreErrorKind::Invalid, "listen", error.to_string()).with_source(error)
    })?;
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(idle_timeout);
    Ok(Some(pool.connect_lazy_with(options)))
}

enum State {
    Connecting { pause: Duration },
    Listening(PostgresWakeup),
    Off,
}

impl Listening {
    /// `None` if this is another database.
    pub(crate) fn for_url(url: &str, names: TableNames) -> Result<Option<Self>, StoreError> {
        // Used for its options, and once for the notification that proves that they arrive.
        let pool = lazy_pool(url, Duration::from_secs(1))?;
        Ok(pool.map(|pool| Self { pool, names, state: State::Connecting { pause: FIRST_PAUSE } }))
    }

    async fn connect(&mut self, pause: Duration) -> bool {
        match PostgresWakeup::connect(&self.pool, &self.names).await {
            Ok(wakeup) => {
                tracing::info!(channel = wakeup.channel(), "listening for notifications of PostgreSQL");
                self.state = State::Listening(wakeup);
                return true;
            }
            // The relay itself says that the database is away.
            Err(WakeupError::Store(error)) if error.kind() == StoreErrorKind::Unavailable => {
                tokio::time::sleep(pause).await;
                let pause = (pause * 2).min(LONGEST_PAUSE);
                self.state = State::Connecting { pause };
            }
            Err(error) => {
                tracing::warn!(%error, "the relay polls: notifications of PostgreSQL do not work here");
                self.state = State::Off;
            }
        }
        false
    }
}

#[async_trait]
impl Wakeup for Listening {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn wait(&mut self) {
        loop {
            match &mut self.state {
                State::Connecting { pause } => {
                    let pause = *pause;
                    if self.connect(pause).await {
                        // Notifications from before nobody has heard.
                        return;
                    }
                }
                State::Listening(wakeup) => return wakeup.wait().await,
                State::Off => std::future::pending().await,
            }
        }
    }
}

/// Whether notifications arrive, as a finding. `None` if this is another database.
pub(crate) async fn diagnose(url: &str, names: &TableNames) -> Option<Finding> {
    const SUBJECT: &str = "notifications";
    let pool = lazy_pool(url, Duration::from_secs(1)).ok()??;
    Some(match PostgresWakeup::connect(&pool, names).await {
        Ok(_) => Finding::ok(SUBJECT, "one was sent, and has arrived"),
        Err(error) => {
            let remedy =
                "correct that, or set wakeups.listen = false: the relay polls, and says so at each start";
            Finding::warning(SUBJECT, error.to_string(), remedy)
        }
    })
}
