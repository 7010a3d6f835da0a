use std::time::Duration;

use async_trait::async_trait;
use diesel::QueryResult;
use diesel::result::Error;
use outbox_core::{Claim, StoreError};
use outbox_sql::{Cell, Driver, Row, Session, Statement, Step, TransactionResult};

use super::backend::BlockingBackend;
use super::connections::Connections;
use super::owned;
use super::threads::Cut;
use crate::statement::BoundStatement;

/// How long a statement or a transaction of the relay may take.
const OPERATION_LIMIT: Duration = Duration::from_secs(30);

/// Runs the statements of `outbox-sql` through diesel, on connections and threads of its own.
#[derive(Debug)]
pub struct DieselDriver<C: BlockingBackend> {
    connections: Connections<C>,
}

impl<C: BlockingBackend> DieselDriver<C> {
    pub(super) fn new(connections: Connections<C>) -> Self {
        Self { connections }
    }

    pub(super) fn connections(&self) -> &Connections<C> {
        &self.connections
    }
}

#[async_trait]
impl<C: BlockingBackend> Driver for DieselDriver<C> {
    async fn messages(
        &self,
        session: Session,
        statement: Statement<'_>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Claim, StoreError> {
        let statement = owned::statement(statement);
        let lent = self.connections.reader(session).await?;
        let read = move |connection: &mut C, _: &Cut| connection.messages(statement, limit, max_bytes);
        lent.run("read messages", OPERATION_LIMIT, read).await
    }

    async fn query(&self, session: Session, statement: Statement<'_>) -> Result<Vec<Row>, StoreError> {
        let statement = owned::statement(statement);
        let lent = self.connections.reader(session).await?;
        lent.run("query", OPERATION_LIMIT, move |connection: &mut C, _| connection.rows(statement)).await
    }

    async fn transaction(
        &self,
        session: Session,
        steps: Vec<Step<'_>>,
    ) -> Result<TransactionResult, StoreError> {
        let steps = steps.into_iter().map(owned::step).collect();
        let lent = self.connections.writer(session).await?;
        lent.run("transaction", OPERATION_LIMIT, |connection: &mut C, cut| run_steps(connection, steps, cut))
            .await
    }

    /// Not bounded in time: a migration of a large table takes as long as it takes.
    async fn script(&self, sql: &str) -> Result<(), StoreError> {
        let sql = sql.to_owned();
        let lent = self.connections.writer(Session::Control).await?;
        let run = move |connection: &mut C, _: &Cut| {
            connection.writing(|connection| connection.batch_execute(&sql))
        };
        lent.run("run script", Duration::MAX, run).await
    }
}

/// Why a transaction is rolled back.
enum Ended {
    Stale,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn run_steps<C: BlockingBackend>(
    connection: &mut C,
    steps: Vec<Step<'static>>,
    cut: &Cut,
) -> QueryResult<TransactionResult> {
    let mut result = TransactionResult::default();
    if let [Step::Write(_) | Step::Also(_) | Step::Read(_)] = steps[..] {
        for step in steps {
            run_step(connection, step, &mut result)?;
        }
        return Ok(result);
    }
    let done = connection.writing(|connection| {
        for step in steps {
            run_step(connection, step, &mut result)?;
            if result.stale {
                return Err(Ended::Stale);
            }
            cut.check()?;
        }
        Ok(())
    });
    match done {
        Ok(()) => Ok(result),
        Err(Ended::Stale) => Ok(TransactionResult { stale: true, ..TransactionResult::default() }),
        Err(Ended::Failed(error)) => Err(error),
    }
}

fn run_step<C: BlockingBackend>(
    connection: &mut C,
    step: Step<'static>,
    result: &mut TransactionResult,
) -> QueryResult<()> {
    match step {
        Step::Fence { statement, expect } => {
            let rows = connection.rows(statement)?;
            let found = rows.first().and_then(|row| row.0.first());
            result.stale = found != Some(&Cell::I64(expect));
        }
        Step::Write(statement) => result.applied += execute(connection, statement)?,
        Step::Also(statement) => {
            execute(connection, statement)?;
        }
        Step::Read(statement) => result.rows.push(connection.rows(statement)?),
    }
    Ok(())
}

fn execute<C: BlockingBackend>(connection: &mut C, statement: Statement<'static>) -> QueryResult<u64> {
    let statement = BoundStatement::<C::Database>::new(statement);
    let changed = connection.execute_returning_count(&statement)?;
    u64::try_from(changed).map_err(Error::IntegerConversion)
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, SqliteConnection};

    use super::*;

    fn two_rows(cut: bool) -> (QueryResult<TransactionResult>, Vec<Row>) {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        connection.batch_execute("CREATE TABLE t (n)").unwrap();
        let insert = || Step::Write(Statement::once("INSERT INTO t VALUES (1)", Vec::new()));
        let result = run_steps(&mut connection, vec![insert(), insert()], &Cut::already(cut));
        let count = Statement::once("SELECT count(*) FROM t", Vec::new());
        (result, BlockingBackend::rows(&mut connection, count).unwrap())
    }

    #[test]
    fn a_transaction_that_somebody_waits_for_is_committed() {
        let (result, rows) = two_rows(false);
        assert_eq!((result.unwrap().applied, rows), (2, vec![Row(vec![Cell::I64(2)])]));
    }

    #[test]
    fn a_transaction_that_nobody_waits_for_is_rolled_back() {
        let (result, rows) = two_rows(true);
        assert_eq!(result.unwrap_err(), Error::RollbackTransaction);
        assert_eq!(rows, [Row(vec![Cell::I64(0)])]);
    }
}
