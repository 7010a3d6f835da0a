use std::time::Duration;

use outbox_core::{StoreError, StoreErrorKind};
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, Connection, Row};

use crate::connections::{Connections, Held};
use crate::error::store_error;
use crate::query::safe;
use crate::sqlx_error::connecting;

/// A pooler with a single server connection makes the first session wait for the second one's transaction.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Leaves a mark in one session, occupies a server connection with a transaction in another, and looks for the mark.
pub(crate) async fn detect(connections: &Connections) -> Result<bool, StoreError> {
    let marked = connections.open().await?;
    let other = connections.open().await?;
    let found = look(&marked, &other).await;
    marked.close().await;
    other.close().await;
    match found {
        Ok(Some(survives)) => Ok(!survives),
        // A server that is slow to answer looks the same, and is no reason to refuse it.
        Ok(None) => {
            tracing::warn!(
                "PostgreSQL is slow to answer, or a pooler with a single connection is in between"
            );
            Ok(false)
        }
        Err(error) => Err(store_error("check", connecting(error))),
    }
}

/// Refuses to work through a pooler that was seen for certain: through one, a statement may run that another session
/// has prepared under the same name.
pub(super) async fn refuse(connections: &Connections) -> Result<(), StoreError> {
    if detect(connections).await? {
        let text = "a transaction pooler is between the relay and PostgreSQL: planner settings and prepared statements do \
                    not work through it; give the store a URL that leads to the server itself or to a session pool";
        return Err(StoreError::new(StoreErrorKind::Invalid, "check", text));
    }
    Ok(())
}

/// Through sqlx, because sea-orm prepares what it reads, and prepared statements are among what breaks.
async fn look(marked: &Held, other: &Held) -> Result<Option<bool>, sqlx::Error> {
    let mut marked = marked.connection().get_postgres_connection_pool().acquire().await?;
    let mut other = other.connection().get_postgres_connection_pool().acquire().await?;
    mark_survives(&mut marked, &mut other).await
}

/// `None` if there was no answer in time.
async fn mark_survives(
    marked: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<Option<bool>, sqlx::Error> {
    let mark = uuid::Uuid::now_v7().simple().to_string();
    sqlx::raw_sql(safe(format!("SELECT set_config('outbox.mark', '{mark}', false)")))
        .execute(&mut *marked)
        .await?;
    let mut transaction = other.begin().await?;
    sqlx::raw_sql("SELECT 1").execute(&mut *transaction).await?;
    let read = sqlx::raw_sql("SELECT current_setting('outbox.mark', true)").fetch_one(&mut *marked);
    let Ok(row) = tokio::time::timeout(ANSWER_LIMIT, read).await else {
        return Ok(None);
    };
    let row = row?;
    transaction.rollback().await?;
    Ok(Some(row.try_get::<Option<&str>, _>(0)? == Some(&mark)))
}
