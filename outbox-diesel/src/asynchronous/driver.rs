use std::time::Duration;

use async_trait::async_trait;
use diesel::QueryResult;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Cell, Driver, Row, Session, Statement, Step, TransactionResult};

use super::backend::{AsyncBackend, Rest};
use super::connections::{Connections, within};

/// How long a statement or a transaction of the relay may take.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);

/// Runs the statements of `outbox-sql` through diesel-async, on connections of its own.
#[derive(Debug)]
pub struct AsyncDieselDriver<C: AsyncBackend> {
    connections: Connections<C>,
}

impl<C: AsyncBackend> AsyncDieselDriver<C> {
    pub(super) fn new(connections: Connections<C>) -> Self {
        Self { connections }
    }

    pub(super) fn connections(&self) -> &Connections<C> {
        &self.connections
    }
}

#[async_trait]
impl<C: AsyncBackend> Driver for AsyncDieselDriver<C> {
    async fn messages(
        &self,
        session: Session,
        statement: Statement<'_>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        let mut lent = self.connections.reader(session).await?;
        let reading = lent.connection().messages(statement, limit, max_bytes);
        match within(OPERATION_LIMIT, reading).await {
            Ok((claim, Rest::None)) => {
                lent.give_back();
                Ok(claim)
            }
            Ok((claim, Rest::TooMuch)) => Ok(claim),
            Err(error) => Err(lent.fail("read messages", error)),
        }
    }

    async fn query(&self, session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let mut lent = self.connections.reader(session).await?;
        match within(OPERATION_LIMIT, lent.connection().rows(statement)).await {
            Ok(rows) => {
                lent.give_back();
                Ok(rows)
            }
            Err(error) => Err(lent.fail("query", error)),
        }
    }

    async fn transaction(
        &self,
        session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        let mut lent = self.connections.writer(session).await?;
        match within(OPERATION_LIMIT, run_steps(lent.connection(), steps)).await {
            Ok(result) => {
                lent.give_back();
                Ok(result)
            }
            Err(error) => Err(lent.fail("transaction", error)),
        }
    }

    /// Not bounded in time: a migration of a large table takes as long as it takes.
    async fn script(&self, sql: &str) -> Result<(), StoreError> {
        let mut lent = self.connections.writer(Session::Control).await?;
        match run_script(lent.connection(), sql).await {
            Ok(()) => {
                lent.give_back();
                Ok(())
            }
            Err(error) => Err(lent.fail("run script", error)),
        }
    }
}

/// Transactions are begun and ended in SQL: what diesel-async keeps about them in the connection is for connections that
/// live on after an error.
async fn run_steps<C: AsyncBackend>(
    connection: &mut C,
    steps: Vec<Step<'_>>,
) -> QueryResult<TransactionResult> {
    let mut result = TransactionResult::default();
    if let [Step::Write(_) | Step::Also(_) | Step::Read(_)] = steps[..] {
        for step in steps {
            run_step(connection, step, &mut result).await?;
        }
        return Ok(result);
    }
    connection.batch_execute(C::BEGIN).await?;
    for step in steps {
        run_step(connection, step, &mut result).await?;
        if result.stale {
            connection.batch_execute("ROLLBACK").await?;
            return Ok(TransactionResult { stale: true, ..TransactionResult::default() });
        }
    }
    connection.batch_execute("COMMIT").await?;
    Ok(result)
}

async fn run_step<C: AsyncBackend>(
    connection: &mut C,
    step: Step<'_>,
    result: &mut TransactionResult,
) -> QueryResult<()> {
    match step {
        Step::Fence { statement, expect } => {
            let rows = connection.rows(statement).await?;
            let found = rows.first().and_then(|row| row.0.first());
            result.stale = found != Some(&Cell::I64(expect));
        }
        Step::Write(statement) => result.applied += connection.run(statement).await? as u64,
        Step::Also(statement) => {
            connection.run(statement).await?;
        }
        Step::Read(statement) => result.rows.push(connection.rows(statement).await?),
    }
    Ok(())
}

async fn run_script<C: AsyncBackend>(connection: &mut C, sql: &str) -> QueryResult<()> {
    connection.batch_execute(C::BEGIN).await?;
    connection.batch_execute(sql).await?;
    connection.batch_execute("COMMIT").await
}
