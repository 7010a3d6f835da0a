use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Cell, Driver, Row, Session, Statement, Step, TransactionResult};
use sqlx::{Pool, Row as _, SqlStr};

use crate::Backend;
use crate::connections::{Connections, within};
use crate::query::{query, safe};

/// How long a statement or a transaction of the relay may take.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);
/// How much of a result is read to its end only to be thrown away; beyond it a new connection is cheaper.
const DRAIN_LIMIT: usize = 4 * 1024 * 1024;

/// Runs the statements of `outbox-sql` through sqlx, on connections of its own.
#[derive(Debug)]
pub struct SqlxDriver<DB: Backend> {
    connections: Connections<DB>,
}

impl<DB: Backend> SqlxDriver<DB> {
    /// A driver for the database of this pool, see [`crate::SqlxStore::new`].
    #[must_use]
    pub fn from_pool(pool: &Pool<DB>) -> Self {
        Self::new(Connections::from_pool(pool))
    }

    pub(crate) fn new(connections: Connections<DB>) -> Self {
        Self { connections }
    }

    pub(crate) fn connections(&self) -> &Connections<DB> {
        &self.connections
    }
}

#[async_trait]
impl<DB: Backend> Driver for SqlxDriver<DB> {
    async fn messages(
        &self,
        session: Session,
        statement: Statement<'_>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        let mut lent = self.connections.reader(session).await?;
        let reading = read_messages::<DB>(lent.connection(), statement, limit, max_bytes);
        match within(OPERATION_LIMIT, reading).await {
            Ok((claim, Rest::None)) => {
                lent.give_back();
                Ok(claim)
            }
            Ok((claim, Rest::TooMuch)) => Ok(claim),
            Err(error) => Err(lent.fail("read messages", error).await),
        }
    }

    async fn query(&self, session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut lent = self.connections.reader(session).await?;
        match within(OPERATION_LIMIT, read_rows::<DB>(lent.connection(), statement)).await {
            Ok(rows) => {
                lent.give_back();
                Ok(rows)
            }
            Err(error) => Err(lent.fail("query", error).await),
        }
    }

    async fn transaction(
        &self,
        session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        let mut lent = self.connections.writer(session).await?;
        match within(OPERATION_LIMIT, run_steps::<DB>(lent.connection(), steps)).await {
            Ok(result) => {
                lent.give_back();
                Ok(result)
            }
            Err(error) => Err(lent.fail("transaction", error).await),
        }
    }

    /// Not bounded in time: a migration of a large table takes as long as it takes.
    async fn script(&self, sql: &str) -> Result<(), StoreError> {
        let mut lent = self.connections.writer(Session::Control).await?;
        match run_script::<DB>(lent.connection(), safe(sql)).await {
            Ok(()) => {
                lent.give_back();
                Ok(())
            }
            Err(error) => Err(lent.fail("run script", error).await),
        }
    }
}

/// What of a result was left unread.
enum Rest {
    None,
    TooMuch,
}

async fn read_messages<DB: Backend>(
    connection: &mut DB::Connection,
    statement: Statement<'_>,
    limit: usize,
    max_bytes: usize,
) -> Result<(Claim, Rest), sqlx::Error> {
    let mut rows = DB::fetch(connection, query(statement)?);
    let mut claim = Claim { rows: Vec::with_capacity(limit.min(1024)), more: false };
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let stored = DB::message(&row)?;
        bytes += stored.message.size();
        claim.rows.push(stored);
        if bytes >= max_bytes || claim.rows.len() >= limit {
            claim.more = true;
            break;
        }
    }
    if !claim.more {
        return Ok((claim, Rest::None));
    }
    // The server sends the rest whether or not it is wanted, and keeps the read open until it has.
    let unread = limit.saturating_sub(claim.rows.len());
    let expected = bytes / claim.rows.len().max(1) * unread;
    if DB::STOPS_READING || expected <= DRAIN_LIMIT {
        if !DB::STOPS_READING {
            while rows.try_next().await?.is_some() {}
        }
        return Ok((claim, Rest::None));
    }
    Ok((claim, Rest::TooMuch))
}

async fn read_rows<DB: Backend>(
    connection: &mut DB::Connection,
    statement: Statement<'_>,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut rows = DB::fetch(connection, query(statement)?);
    let mut read = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let cells = (0..row.len()).map(|column| DB::cell(&row, column));
        read.push(Row(cells.collect::<Result<_, _>>()?));
    }
    Ok(read)
}

async fn run_steps<DB: Backend>(
    connection: &mut DB::Connection,
    steps: Vec<Step<'_>>,
) -> Result<TransactionResult, sqlx::Error> {
    let mut result = TransactionResult::default();
    if let [Step::Write(_) | Step::Also(_) | Step::Read(_)] = steps[..] {
        for step in steps {
            run_step::<DB>(connection, step, &mut result).await?;
        }
        return Ok(result);
    }
    let mut transaction = DB::begin(connection).await?;
    for step in steps {
        run_step::<DB>(&mut transaction, step, &mut result).await?;
        if result.stale {
            transaction.rollback().await?;
            return Ok(TransactionResult { stale: true, ..TransactionResult::default() });
        }
    }
    transaction.commit().await?;
    Ok(result)
}

async fn run_step<DB: Backend>(
    connection: &mut DB::Connection,
    step: Step<'_>,
    result: &mut TransactionResult,
) -> Result<(), sqlx::Error> {
    match step {
        Step::Fence { statement, expect } => {
            let rows = read_rows::<DB>(connection, statement).await?;
            let found = rows.first().and_then(|row| row.0.first());
            result.stale = found != Some(&Cell::I64(expect));
        }
        Step::Write(statement) => result.applied += DB::execute(connection, query(statement)?).await?,
        Step::Also(statement) => {
            DB::execute(connection, query(statement)?).await?;
        }
        Step::Read(statement) => result.rows.push(read_rows::<DB>(connection, statement).await?),
    }
    Ok(())
}

async fn run_script<DB: Backend>(connection: &mut DB::Connection, sql: SqlStr) -> Result<(), sqlx::Error> {
    let mut transaction = DB::begin(connection).await?;
    DB::script(&mut transaction, sql).await?;
    transaction.commit().await
}
