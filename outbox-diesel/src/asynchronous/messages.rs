use std::pin::pin;

use diesel::QueryResult;
use diesel_async::AsyncConnection;
use futures_util::TryStreamExt;
use outbox_core::Claim;
use outbox_sql::Statement;

use super::backend::Rest;
use crate::statement::BoundStatement;
use crate::{Backend, decode};

/// How much of a result is read to its end only to be thrown away; beyond it a new connection is cheaper.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;

/// Reads message rows up to a number of rows and of bytes, as they come from the server.
pub(super) async fn read<C>(
    connection: &mut C,
    statement: Statement<'_>,
    limit: usize,
    max_bytes: usize,
) -> QueryResult<(Claim, Rest)>
where
    C: AsyncConnection<Backend: Backend>,
{
    let mut rows = pin!(connection.load(BoundStatement::<C::Backend>::new(statement)).await?);
    let mut claim = Claim { rows: Vec::with_capacity(limit.min(1024)), more: false };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let stored = decode::message(&row)?;
        bytes += stored.message.size();
        claim.rows.push(stored);
        if bytes >= max_bytes || claim.rows.len() >= limit {
            claim.more = true;
            break;
        }
    }
    // A stream that has ended must not be asked again.
    if !claim.more {
        return Ok((claim, Rest::None));
    }
    // The server sends the rest whether or not it is wanted, and keeps the read open until it has.
    let unread = limit.saturating_sub(claim.rows.len());
    let expected = bytes / claim.rows.len().max(1) * unread;
    if expected > DRAIN_LIMIT {
        return Ok((claim, Rest::TooMuch));
    }
    while rows.try_next().await?.is_some() {}
    Ok((claim, Rest::None))
}
