use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Cell, Dialect, Driver, Row, Session, Statement, Step, TransactionResult};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, QueryStream, SqliteTransactionMode,
    StreamTrait, TransactionOptions, TransactionTrait,
};

use crate::connections::Connections;
use crate::origin;
use crate::query::query;
use crate::row;

/// How long a statement or a transaction of the relay may take.
const OPERATION_LIMIT: Option<Duration> = Some(Duration::from_secs(30));
/// How much of a result is read to its end only to be thrown away; beyond it a new connection is cheaper.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;

/// Runs the statements of `outbox-sql` through sea-orm, on connections of its own.
#[derive(Debug)]
pub struct SeaOrmDriver {
    connections: Connections,
}

impl SeaOrmDriver {
    /// A driver for the database of this connection, see [`crate::SeaOrmStore::new`].
    #[must_use]
    pub fn new(connection: &DatabaseConnection) -> Self {
        Self::over(Connections::new(origin::of(connection)))
    }

    pub(crate) fn over(connections: Connections) -> Self {
        Self { connections }
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }
}

#[async_trait]
impl Driver for SeaOrmDriver {
    async fn messages(
        &self,
        session: Session,
        statement: Statement<'_>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        let lent = self.connections.reader(session).await?;
        let reading = Reading { limit, max_bytes, stops: self.connections.dialect() == Dialect::Sqlite };
        let work = read_messages(lent.connection(), statement, reading);
        let ((claim, unread), lent) = lent.run("read messages", OPERATION_LIMIT, work).await?;
        match unread {
            None => lent.give_back(),
            Some(unread) => {
                // In this order: what is left unread finds the connection closed.
                drop(lent);
                drop(unread);
            }
        }
        Ok(claim)
    }

    async fn query(&self, session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let lent = self.connections.reader(session).await?;
        let connection = lent.connection();
        let work = async move { read_rows(&connection, statement).await };
        let (rows, lent) = lent.run("query", OPERATION_LIMIT, work).await?;
        lent.give_back();
        Ok(rows)
    }

    async fn transaction(
        &self,
        session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        let lent = self.connections.writer(session).await?;
        let connection = lent.connection();
        let work = async move { run_steps(&connection, steps).await };
        let (result, lent) = lent.run("transaction", OPERATION_LIMIT, work).await?;
        lent.give_back();
        Ok(result)
    }

    /// Not bounded in time: a migration of a large table takes as long as it takes.
    async fn script(&self, sql: &str) -> Result<(), StoreError> {
        let lent = self.connections.writer(Session::Control).await?;
        let connection = lent.connection();
        let work = async move { run_script(&connection, sql).await };
        let ((), lent) = lent.run("run script", None, work).await?;
        lent.give_back();
        Ok(())
    }
}

/// How much is read.
struct Reading {
    limit: usize,
    max_bytes: usize,
    /// Whether rows that nobody asks for are never sent.
    stops: bool,
}

/// Returns the rest of the result, too, if it is too much to be read.
async fn read_messages(
    connection: DatabaseConnection,
    statement: Statement<'_>,
    Reading { limit, max_bytes, stops }: Reading,
) -> Result<(Claim, Option<QueryStream>), DbErr> {
    let statement = query(connection.get_database_backend(), statement)?;
    let mut rows = connection.stream_raw(statement).await?;
    let mut claim = Claim { rows: Vec::with_capacity(limit.min(1024)), more: false };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let stored = row::message(&row)?;
        bytes += stored.message.size();
        claim.rows.push(stored);
        if bytes >= max_bytes || claim.rows.len() >= limit {
            claim.more = true;
            break;
        }
    }
    if stops || !claim.more {
        return Ok((claim, None));
    }
    // The server sends the rest whether or not it is wanted, and keeps the read open until it has.
    let unread = limit.saturating_sub(claim.rows.len());
    let expected = bytes / claim.rows.len().max(1) * unread;
    if expected > DRAIN_LIMIT {
        return Ok((claim, Some(rows)));
    }
    while rows.try_next().await?.is_some() {}
    Ok((claim, None))
}

/// Reads a small result.
pub(crate) async fn read_rows(
    connection: &impl ConnectionTrait,
    statement: Statement<'_>,
) -> Result<Vec<Row>, DbErr> {
    let statement = query(connection.get_database_backend(), statement)?;
    connection.query_all_raw(statement).await?.iter().map(row::cells).collect()
}

async fn run_steps(
    connection: &DatabaseConnection,
    steps: Vec<Step<'_>>,
) -> Result<TransactionResult, DbErr> {
    let mut result = TransactionResult::default();
    if let [Step::Write(_) | Step::Also(_) | Step::Read(_)] = steps[..] {
        for step in steps {
            run_step(connection, step, &mut result).await?;
        }
        return Ok(result);
    }
    let transaction = begin(connection).await?;
    for step in steps {
        run_step(&transaction, step, &mut result).await?;
        if result.stale {
            transaction.rollback().await?;
            return Ok(TransactionResult { stale: true, ..TransactionResult::default() });
        }
    }
    transaction.commit().await?;
    Ok(result)
}

async fn run_step(
    connection: &impl ConnectionTrait,
    step: Step<'_>,
    result: &mut TransactionResult,
) -> Result<(), DbErr> {
    match step {
        Step::Fence { statement, expect } => {
            let rows = read_rows(connection, statement).await?;
            let found = rows.first().and_then(|row| row.0.first());
            result.stale = found != Some(&Cell::I64(expect));
        }
        Step::Write(statement) => result.applied += execute(connection, statement).await?,
        Step::Also(statement) => {
            execute(connection, statement).await?;
        }
        Step::Read(statement) => result.rows.push(read_rows(connection, statement).await?),
    }
    Ok(())
}

async fn execute(connection: &impl ConnectionTrait, statement: Statement<'_>) -> Result<u64, DbErr> {
    let statement = query(connection.get_database_backend(), statement)?;
    Ok(connection.execute_raw(statement).await?.rows_affected())
}

async fn run_script(connection: &DatabaseConnection, sql: &str) -> Result<(), DbErr> {
    let transaction = begin(connection).await?;
    transaction.execute_unprepared(sql).await?;
    transaction.commit().await
}

/// Begins a transaction that is going to write. In SQLite one that reads first and writes then fails at once when
/// another has written in between; one that says from the beginning that it writes waits for its turn.
pub(crate) async fn begin<C>(connection: &C) -> Result<DatabaseTransaction, DbErr>
where
    C: TransactionTrait<Transaction = DatabaseTransaction>,
{
    let sqlite_transaction_mode = Some(SqliteTransactionMode::Immediate);
    connection.begin_with_options(TransactionOptions { sqlite_transaction_mode, ..Default::default() }).await
}
