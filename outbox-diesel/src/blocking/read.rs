use diesel::QueryResult;
use diesel::connection::LoadConnection;
use outbox_core::Claim;
use outbox_sql::{Row, Statement};

use crate::Backend;
use crate::decode;
use crate::statement::BoundStatement;

/// Reads message rows up to a number of rows and of bytes, in a mode of loading.
pub(super) fn messages<Mode, C>(
    connection: &mut C,
    statement: Statement<'_>,
    limit: usize,
    max_bytes: usize,
) -> QueryResult<Claim>
where
    C: LoadConnection<Mode, Backend: Backend>,
{
    let mut claim = Claim { rows: Vec::with_capacity(limit.min(1024)), more: false };
    let mut bytes = 0;
    for row in connection.load(BoundStatement::new(statement))? {
        let stored = decode::message(&row?)?;
        bytes += stored.message.size();
        claim.rows.push(stored);
        if bytes >= max_bytes || claim.rows.len() >= limit {
            claim.more = true;
            break;
        }
    }
    Ok(claim)
}

/// Reads a small result.
pub(super) fn rows<Mode, C>(connection: &mut C, statement: Statement<'_>) -> QueryResult<Vec<Row>>
where
    C: LoadConnection<Mode, Backend: Backend>,
{
    let rows = connection.load(BoundStatement::new(statement))?;
    rows.map(|row| decode::row(&row?)).collect()
}
