use std::time::Duration;

use outbox_core::{StoreError, StoreErrorKind};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres, Row};

use super::PostgresStore;
use crate::connections::{Connections, within};
use crate::error::store_error;
use crate::query::safe;

/// A pooler with a single server connection makes the first session wait for the second one's transaction.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

impl PostgresStore {
    /// Whether a transaction pooler is in between: a program that gives every transaction another server connection.
    ///
    /// Through one, settings of a session, prepared statements and `LISTEN` are gone or belong to somebody else.
    /// [`outbox_core::OutboxStore::check`] asks this once, and refuses with [`StoreErrorKind::Invalid`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] if a connection can't be opened.
    ///
    /// # Cancel safety
    ///
    /// Yes: the two connections that it opens are closed.
    pub async fn detect_pooler(&self) -> Result<bool, StoreError> {
        detect(self.connections()).await
    }
}

/// Leaves a mark in one session, occupies a server connection with a transaction in another, and looks for the mark.
pub(super) async fn detect(connections: &Connections<Postgres>) -> Result<bool, StoreError> {
    let mut marked = connections.open().await?;
    let mut other = connections.open().await?;
    let found = mark_survives(marked.connection(), other.connection()).await;
    marked.close().await;
    other.close().await;
    match found {
        Ok(survives) => Ok(!survives),
        // A server that is slow to answer looks the same, and is no reason to refuse it.
        Err(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
            tracing::warn!(
                "PostgreSQL is slow to answer, or a pooler with a single connection is in between"
            );
            Ok(false)
        }
        Err(error) => Err(store_error("check", error)),
    }
}

/// Refuses to work through a pooler that was seen for certain: through one, a statement may run that another session
/// has prepared under the same name.
pub(super) async fn refuse(connections: &Connections<Postgres>) -> Result<(), StoreError> {
    if detect(connections).await? {
        let text = "a transaction pooler is between the relay and PostgreSQL: planner settings, prepared statements and \
                    LISTEN do not work through it; give the store a URL that leads to the server itself or to a session \
                    pool";
        return Err(StoreError::new(StoreErrorKind::Invalid, "check", text));
    }
    Ok(())
}

/// Simple queries only: prepared statements are among what breaks.
async fn mark_survives(marked: &mut PgConnection, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mark = uuid::Uuid::now_v7().simple().to_string();
    sqlx::raw_sql(safe(format!("SELECT set_config('outbox.mark', '{mark}', false)")))
        .execute(&mut *marked)
        .await?;
    let mut transaction = other.begin().await?;
    sqlx::raw_sql("SELECT 1").execute(&mut *transaction).await?;
    let read = sqlx::raw_sql("SELECT current_setting('outbox.mark', true)").fetch_one(&mut *marked);
    let row = within(ANSWER_LIMIT, read).await?;
    transaction.rollback().await?;
    Ok(row.try_get::<Option<&str>, _>(0)? == Some(&mark))
}
