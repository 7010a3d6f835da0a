use std::time::Duration;

use diesel::connection::{Connection, SimpleConnection, TransactionManager};
use diesel::pg::PgConnection;
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Statement;

use super::PostgresStore;
use crate::blocking::backend::BlockingBackend;
use crate::blocking::connections::Connections;

/// A pooler with a single server connection makes the first session wait for the second one's transaction.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

impl PostgresStore {
    /// Whether a transaction pooler is in between: a program that gives every transaction another server connection.
    ///
    /// Through one, settings of a session and prepared statements are gone or belong to somebody else.
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
/// Nothing is prepared: prepared statements are among what breaks.
pub(super) async fn detect(connections: &Connections<PgConnection>) -> Result<bool, StoreError> {
    let (marked, other) = (connections.open().await?, connections.open().await?);
    let mark = uuid::Uuid::now_v7().simple().to_string();
    let set = format!("SELECT set_config('outbox.mark', '{mark}', false)");
    let set = move |session: &mut PgConnection, _: &_| session.batch_execute(&set);
    let (marked, ()) = connections.work(marked, "check", ANSWER_LIMIT, set).await?;
    let occupy = |session: &mut PgConnection, _: &_| {
        <PgConnection as Connection>::TransactionManager::begin_transaction(session)?;
        session.batch_execute("SELECT 1")
    };
    let (other, ()) = connections.work(other, "check", ANSWER_LIMIT, occupy).await?;
    let read = |session: &mut PgConnection, _: &_| {
        session.rows(Statement::once("SELECT current_setting('outbox.mark', true)", Vec::new()))
    };
    let found = connections.work(marked, "check", ANSWER_LIMIT, read).await;
    drop(other);
    match found {
        Ok((_, rows)) => {
            let found = rows.first().map(|row| row.text(0)).transpose()?.flatten();
            Ok(found != Some(&mark))
        }
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            tracing::warn!(
                "PostgreSQL is slow to answer, or a pooler with a single connection is in between"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Refuses to work through a pooler that was seen for certain: through one, a statement may run that another session
/// has prepared under the same name.
pub(super) async fn refuse(connections: &Connections<PgConnection>) -> Result<(), StoreError> {
    if detect(connections).await? {
        let text = "a transaction pooler is between the relay and PostgreSQL: planner settings and prepared statements do \
                    not work through it; give the store a URL that leads to the server itself or to a session pool";
        return Err(StoreError::new(StoreErrorKind::Invalid, "check", text));
    }
    Ok(())
}
