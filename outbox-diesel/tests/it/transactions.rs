//! What the transaction suite needs to know about diesel's own connections.
//!
//! They block, and the suite waits for several at once: each transaction has a thread, which does what it is sent.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use diesel::RunQueryDsl;
use outbox_conformance::transaction_suite::{
    Body, CountedHints, DatabaseSql, FixtureError, FixtureScope, OpenScope, PlainConnection,
    TransactionFixture,
};
use outbox_core::{OutboxMessage, Processed, TransactionPolicy};
use outbox_diesel::{OutboxTransaction, TransactionError};
use outbox_sql::{Cell, Statement};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::fixture::{Fixture, Pooled, Raw, TestDatabase};

#[async_trait]
impl<C: TestDatabase> TransactionFixture for Fixture<C> {
    fn sql(&self) -> &'static DatabaseSql {
        C::SQL
    }

    async fn begin(&self, policy: &TransactionPolicy) -> Result<Box<dyn OpenScope>, FixtureError> {
        let (pool, writer, policy) = (self.pool.clone(), self.writer.clone(), policy.clone());
        let (sender, jobs) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let (running, ended) = mpsc::channel::<()>();
        spawn_blocking(move || {
            let _running = running;
            let mut connection = pool.get().unwrap();
            let mut transaction = match writer.begin_with(&mut connection, &policy) {
                Ok(transaction) => transaction,
                Err(error) => return begun.send(Err(FixtureError::database(error))).unwrap(),
            };
            begun.send(Ok(())).unwrap();
            // Whoever is told of the end finds the connection in its pool.
            match work(&jobs, &mut transaction) {
                Some(End::Commit(tell)) => {
                    let committed = transaction.commit();
                    drop(connection);
                    tell.send(committed.map(Processed::Applied)).unwrap();
                }
                Some(End::Rollback(tell)) => {
                    transaction.rollback();
                    drop(connection);
                    tell.send(()).unwrap();
                }
                None => drop(transaction),
            }
        });
        has_begun.await.unwrap()?;
        Ok(Box::new(Scope { jobs: Some(sender), ended: Some(ended) }))
    }

    async fn transaction(&self, policy: TransactionPolicy, body: Body) -> Result<(), FixtureError> {
        let (pool, writer, runtime) = (self.pool.clone(), self.writer.clone(), Handle::current());
        let run =
            move || writer.transaction(&mut pool.get().unwrap(), policy, |tx| run::<C>(&runtime, &body, tx));
        spawn_blocking(run).await.unwrap()
    }

    fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    fn hints(&self) -> &CountedHints {
        &self.hints
    }

    async fn connect(&self) -> Box<dyn PlainConnection> {
        let pool = self.pool.clone();
        Box::new(Plain(Some(spawn_blocking(move || pool.get().unwrap()).await.unwrap())))
    }
}

/// Runs a body of the suite in the transaction of this thread.
pub(crate) fn run<C: TestDatabase>(
    runtime: &Handle,
    body: &Body,
    transaction: &mut Open<'_, C>,
) -> Result<(), FixtureError> {
    let (sender, jobs) = mpsc::channel();
    let body = Arc::clone(body);
    let running =
        runtime.spawn(async move { body(&mut Scope::<C> { jobs: Some(sender), ended: None }).await });
    work(&jobs, transaction);
    runtime.block_on(running).unwrap()
}

pub(crate) type Open<'c, C> = OutboxTransaction<'c, Pooled<C>>;

pub(crate) type Work<C> = Box<dyn FnOnce(&mut Open<'_, C>) + Send>;

/// What the thread of a transaction is sent.
pub(crate) enum Job<C: TestDatabase> {
    Work(Work<C>),
    End(End),
}

/// How a transaction ends, and whom to tell.
pub(crate) enum End {
    Commit(oneshot::Sender<Result<Processed, TransactionError>>),
    Rollback(oneshot::Sender<()>),
}

/// Works until the transaction is to end. `None` if it is dropped.
pub(crate) fn work<C: TestDatabase>(
    jobs: &mpsc::Receiver<Job<C>>,
    transaction: &mut Open<'_, C>,
) -> Option<End> {
    for job in jobs {
        match job {
            Job::Work(work) => work(transaction),
            Job::End(end) => return Some(end),
        }
    }
    None
}

/// A transaction, which is on another thread.
pub(crate) struct Scope<C: TestDatabase> {
    pub(crate) jobs: Option<mpsc::Sender<Job<C>>>,
    /// Says when the thread has ended, where the transaction ends with this.
    pub(crate) ended: Option<mpsc::Receiver<()>>,
}

impl<C: TestDatabase> Scope<C> {
    /// Ends it, and waits for the end.
    pub(crate) async fn commit(self) -> Result<Processed, FixtureError> {
        let (tell, done) = oneshot::channel();
        self.send(Job::End(End::Commit(tell)));
        Ok(done.await.unwrap()?)
    }

    /// Ends it, and waits for the end.
    pub(crate) async fn rollback(self) {
        let (tell, done) = oneshot::channel();
        self.send(Job::End(End::Rollback(tell)));
        done.await.unwrap();
    }

    fn send(&self, job: Job<C>) {
        assert!(self.jobs.as_ref().unwrap().send(job).is_ok(), "the thread works");
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Open<'_, C>) -> T + Send + 'static,
    ) -> T {
        let (tell, done) = oneshot::channel();
        self.send(Job::Work(Box::new(move |transaction| {
            let _ = tell.send(work(transaction));
        })));
        done.await.unwrap()
    }
}

impl<C: TestDatabase> Drop for Scope<C> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(ended) = &self.ended {
            // An error: nobody has the other end any more.
            let _ = ended.recv();
        }
    }
}

#[async_trait]
impl<C: TestDatabase> FixtureScope for Scope<C> {
    fn add(&mut self, message: OutboxMessage) {
        self.send(Job::Work(Box::new(|transaction| transaction.add(message))));
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Ok(self.run(|transaction| transaction.flush()).await?)
    }

    /// Prepared, as what diesel's users write.
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        let statement = Raw::new(sql);
        let done = self.run(move |transaction| statement.execute(transaction)).await;
        done.map(drop).map_err(FixtureError::database)
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        let sql = sql.to_owned();
        self.run(move |transaction| number::<C>(transaction, &sql)).await
    }
}

#[async_trait]
impl<C: TestDatabase> OpenScope for Scope<C> {
    async fn commit(self: Box<Self>) -> Result<(), FixtureError> {
        (*self).commit().await.map(drop)
    }

    async fn rollback(self: Box<Self>) {
        (*self).rollback().await;
    }
}

/// There is a connection unless a thread works with it.
struct Plain<C: TestDatabase>(Option<Pooled<C>>);

impl<C: TestDatabase> Plain<C> {
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut C) -> Result<T, FixtureError> + Send + 'static,
    ) -> Result<T, FixtureError> {
        let mut connection = self.0.take().unwrap();
        let run = move || (work(&mut connection), connection);
        let (done, connection) = spawn_blocking(run).await.unwrap();
        self.0 = Some(connection);
        done
    }
}

#[async_trait]
impl<C: TestDatabase> PlainConnection for Plain<C> {
    /// As a simple query: not everything can be prepared.
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        let sql = sql.to_owned();
        self.run(move |connection| connection.batch_execute(&sql).map_err(FixtureError::database)).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        let sql = sql.to_owned();
        self.run(move |connection| number(connection, &sql)).await
    }
}

pub(crate) fn number<C: TestDatabase>(connection: &mut C, sql: &str) -> Result<i64, FixtureError> {
    let rows = connection.rows(Statement::once(sql, Vec::new())).map_err(FixtureError::database)?;
    match rows[0].0[..] {
        [Cell::I64(number)] => Ok(number),
        ref other => panic!("{sql}: {other:?} is no number"),
    }
}
