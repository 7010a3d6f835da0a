use std::pin::pin;

use diesel::QueryResult;
use diesel_async::AsyncConnection;
use futures_util::TryStreamExt;
use outbox_sql::{Row, Statement};

use crate::statement::BoundStatement;
use crate::{Backend, decode};

/// Reads a small result.
pub(super) async fn rows<C>(connection: &mut C, statement: Statement<'_>) -> QueryResult<Vec<Row>>
where
    C: AsyncConnection<Backend: Backend>,
{
    let mut rows = pin!(connection.load(BoundStatement::<C::Backend>::new(statement)).await?);
    let mut read = Vec::new();
    while let Some(row) = rows.try_next().await? {
        read.push(decode::row(&row)?);
    }
    Ok(read)
}

/// Runs a statement for the number of rows it changes.
pub(super) async fn count<C>(connection: &mut C, statement: Statement<'_>) -> QueryResult<usize>
where
    C: AsyncConnection<Backend: Backend>,
{
    connection.execute_returning_count(BoundStatement::<C::Backend>::new(statement)).await
}
