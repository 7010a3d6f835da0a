//! What the transaction suite needs to know about diesel-async.

use async_trait::async_trait;
use diesel::QueryResult;
use outbox_conformance::transaction_suite::{
    Body, CountedHints, DatabaseSql, FixtureError, FixtureScope, OpenScope, PlainConnection,
    TransactionFixture,
};
use outbox_core::{OutboxMessage, Processed, TransactionPolicy};
use outbox_diesel::AsyncOutboxTransaction;
use tokio::sync::{mpsc, oneshot};

use super::fixture::{Fixture, TestDatabase};

type PoolConnection<C> = bb8::PooledConnection<'static, <C as TestDatabase>::Manager>;

#[async_trait]
impl<C: TestDatabase> TransactionFixture for Fixture<C> {
    fn sql(&self) -> &'static DatabaseSql {
        C::SQL
    }

    /// A transaction borrows its connection. So that the scope need not, both are in a task of their own.
    async fn begin(&self, policy: &TransactionPolicy) -> Result<Box<dyn OpenScope>, FixtureError> {
        let mut connection = self.users.get_owned().await.unwrap();
        let (writer, policy) = (self.writer.clone(), policy.clone());
        let (orders, mut received) = mpsc::unbounded_channel();
        let (begun, answer) = oneshot::channel();
        tokio::spawn(async move {
            match writer.begin_with(&mut *connection, &policy).await {
                Ok(mut transaction) => {
                    begun.send(Ok(())).unwrap();
                    match obey::<C>(&mut transaction, &mut received).await {
                        Some(End::Commit(answer)) => {
                            let committed = transaction.commit().await;
                            answer.send(committed.map(Processed::Applied).map_err(Into::into)).unwrap();
                        }
                        Some(End::Rollback(answer)) => {
                            transaction.rollback().await;
                            answer.send(()).unwrap();
                        }
                        None => {}
                    }
                }
                Err(error) => begun.send(Err(FixtureError::database(error))).unwrap(),
            }
        });
        answer.await.unwrap()?;
        Ok(Box::new(Open(orders)))
    }

    async fn transaction(&self, policy: TransactionPolicy, body: Body) -> Result<(), FixtureError> {
        let mut connection = self.users.get().await.unwrap();
        let body = async |tx: &mut AsyncOutboxTransaction<'_, C::User>| body(&mut Scope::<C>(tx)).await;
        self.writer.transaction(&mut *connection, policy, body).await
    }

    fn commits(&self) -> usize {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn hints(&self) -> &CountedHints {
        &self.hints
    }

    async fn connect(&self) -> Box<dyn PlainConnection> {
        Box::new(Plain::<C>(self.users.get_owned().await.unwrap()))
    }
}

pub(super) struct Scope<'t, 'c, C: TestDatabase>(pub(super) &'t mut AsyncOutboxTransaction<'c, C::User>);

#[async_trait]
impl<C: TestDatabase> FixtureScope for Scope<'_, '_, C> {
    fn add(&mut self, message: OutboxMessage) {
        self.0.add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Ok(self.0.flush().await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        execute::<C>(self.0, sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        number::<C>(self.0, sql).await
    }
}

pub(super) enum Order {
    Add(OutboxMessage),
    Flush(Answer<()>),
    Execute(String, Answer<()>),
    Number(String, Answer<i64>),
    End(End),
}

/// How a transaction ends, and whom to tell.
pub(super) enum End {
    Commit(Answer<Processed>),
    Rollback(oneshot::Sender<()>),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, FixtureError>>;

/// Until the transaction is to end. `None` if whoever gives the orders goes away: it is to be dropped.
pub(super) async fn obey<C: TestDatabase>(
    transaction: &mut AsyncOutboxTransaction<'_, C::User>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Option<End> {
    let mut scope = Scope::<C>(transaction);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Add(message) => scope.add(message),
            Order::Flush(answer) => answer.send(scope.flush().await).unwrap(),
            Order::Execute(sql, answer) => answer.send(scope.execute(&sql).await).unwrap(),
            Order::Number(sql, answer) => answer.send(scope.number(&sql).await).unwrap(),
            Order::End(end) => return Some(end),
        }
    }
    None
}

pub(super) struct Open(pub(super) mpsc::UnboundedSender<Order>);

impl Open {
    async fn ask<A>(&self, order: impl FnOnce(oneshot::Sender<A>) -> Order) -> A {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(order(answer)).is_ok(), "the transaction is gone");
        answered.await.unwrap()
    }

    pub(super) async fn commit(&self) -> Result<Processed, FixtureError> {
        self.ask(|answer| Order::End(End::Commit(answer))).await
    }

    pub(super) async fn rollback(&self) {
        self.ask(|answer| Order::End(End::Rollback(answer))).await;
    }
}

#[async_trait]
impl FixtureScope for Open {
    fn add(&mut self, message: OutboxMessage) {
        assert!(self.0.send(Order::Add(message)).is_ok(), "the transaction is gone");
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        self.ask(Order::Flush).await
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        self.ask(|answer| Order::Execute(sql.to_owned(), answer)).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        self.ask(|answer| Order::Number(sql.to_owned(), answer)).await
    }
}

#[async_trait]
impl OpenScope for Open {
    async fn commit(self: Box<Self>) -> Result<(), FixtureError> {
        (*self).commit().await.map(drop)
    }

    async fn rollback(self: Box<Self>) {
        (*self).rollback().await;
    }
}

struct Plain<C: TestDatabase>(PoolConnection<C>);

#[async_trait]
impl<C: TestDatabase> PlainConnection for Plain<C> {
    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        execute::<C>(&mut self.0, sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        number::<C>(&mut self.0, sql).await
    }
}

async fn execute<C: TestDatabase>(connection: &mut C::User, sql: &str) -> Result<(), FixtureError> {
    use diesel_async::SimpleAsyncConnection;
    connection.batch_execute(sql).await.map_err(FixtureError::database)
}

async fn number<C: TestDatabase>(connection: &mut C::User, sql: &str) -> Result<i64, FixtureError> {
    let number: QueryResult<i64> = C::number(connection, sql).await;
    number.map_err(FixtureError::database)
}
