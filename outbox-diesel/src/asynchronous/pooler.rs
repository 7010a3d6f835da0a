use std::time::Duration;

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::Dialect;

use super::AsyncPostgresStore;
use super::connections::Connections;
use crate::error::store_error;

/// A pooler with a single server connection makes the first session wait for the second one's transaction.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How the server says that it does not know the mark.
const GONE: &str = "the mark of outbox-relay is gone";

impl AsyncPostgresStore {
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
async fn detect(connections: &Connections<AsyncPgConnection>) -> Result<bool, StoreError> {
    let (mut marked, mut other) = match (connections.open().await, connections.open().await) {
        (Ok(marked), Ok(other)) => (marked, other),
        // diesel-async prepares the statements that set a connection up.
        (Err(error), _) | (_, Err(error)) if error.to_string().contains("prepared statement") => {
            return Ok(true);
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    match mark_survives(marked.connection(), other.connection()).await {
        Ok(Some(survives)) => Ok(!survives),
        // A server that is slow to answer looks the same, and is no reason to refuse it.
        Ok(None) => {
            tracing::warn!(
                "PostgreSQL is slow to answer, or a pooler with a single connection is in between"
            );
            Ok(false)
        }
        Err(error) => Err(store_error(Dialect::Postgres, "check", error)),
    }
}

/// Refuses to work through a pooler that was seen for certain: through one, a statement may run that another session
/// has prepared under the same name.
pub(super) async fn refuse(connections: &Connections<AsyncPgConnection>) -> Result<(), StoreError> {
    if detect(connections).await? {
        let text = "a transaction pooler is between the relay and PostgreSQL: planner settings, prepared statements and \
                    LISTEN do not work through it; give the store a URL that leads to the server itself or to a session \
                    pool";
        return Err(StoreError::new(StoreErrorKind::Invalid, "check", text));
    }
    Ok(())
}

/// `None` if there was no answer in time. Simple queries only: prepared statements are among what breaks. Those of
/// diesel return no rows, and so the server raises an error if the mark is gone.
async fn mark_survives(
    marked: &mut AsyncPgConnection,
    other: &mut AsyncPgConnection,
) -> QueryResult<Option<bool>> {
    let mark = uuid::Uuid::now_v7().simple();
    marked.batch_execute(&format!("SELECT set_config('outbox.mark', '{mark}', false)")).await?;
    other.batch_execute("BEGIN").await?;
    other.batch_execute("SELECT 1").await?;
    let look = format!(
        "DO $$ BEGIN
             IF current_setting('outbox.mark', true) IS DISTINCT FROM '{mark}' THEN
                 RAISE EXCEPTION '{GONE}';
             END IF;
         END $$"
    );
    let looked = tokio::time::timeout(ANSWER_LIMIT, marked.batch_execute(&look)).await;
    let survives = match looked {
        Ok(Ok(())) => Some(true),
        Ok(Err(Error::DatabaseError(DatabaseErrorKind::Unknown, error))) if error.message() == GONE => {
            Some(false)
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => None,
    };
    other.batch_execute("ROLLBACK").await?;
    Ok(survives)
}
