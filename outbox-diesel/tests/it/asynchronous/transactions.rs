//! What the transaction suite needs to know about diesel-async.

use async_trait::async_trait;
use diesel::QueryResult;
use outbox_conformance::transaction_suite::{
    Body, DatabaseSql, FixtureError, FixtureScope, OpenScope, PlainConnection, TransactionFixture,
};
use outbox_core::{OutboxMessage, TransactionPolicy};
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
                Ok(transaction) => {
                    begun.send(Ok(())).unwrap();
                    obey::<C>(transaction, &mut received).await;
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

    async fn connect(&self) -> Box<dyn PlainConnection> {
        Box::new(Plain::<C>(self.users.get_owned().await.unwrap()))
    }
}

struct Scope<'t, 'c, C: TestDatabase>(&'t mut AsyncOutboxTransaction<'c, C::User>);

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

enum Order {
    Add(OutboxMessage),
    Flush(Answer<()>),
    Execute(String, Answer<()>),
    Number(String, Answer<i64>),
    Commit(Answer<()>),
    Rollback(oneshot::Sender<()>),
}

type Answer<T> = oneshot::Sender<Result<T, FixtureError>>;

/// Until the transaction ends, or whoever gives the orders goes away, and then it is dropped.
async fn obey<C: TestDatabase>(
    mut transaction: AsyncOutboxTransaction<'_, C::User>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) {
    while let Some(order) = orders.recv().await {
        let mut scope = Scope::<C>(&mut transaction);
        match order {
            Order::Add(message) => scope.add(message),
            Order::Flush(answer) => answer.send(scope.flush().await).unwrap(),
            Order::Execute(sql, answer) => answer.send(scope.execute(&sql).await).unwrap(),
            Order::Number(sql, answer) => answer.send(scope.number(&sql).await).unwrap(),
            Order::Commit(answer) => {
                return answer.send(transaction.commit().await.map_err(Into::into)).unwrap();
            }
            Order::Rollback(answer) => {
                transaction.rollback().await;
                return answer.send(()).unwrap();
            }
        }
    }
}

struct Open(mpsc::UnboundedSender<Order>);

impl Open {
    async fn ask<A>(&self, order: impl FnOnce(oneshot::Sender<A>) -> Order) -> A {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(order(answer)).is_ok(), "the transaction is gone");
        answered.await.unwrap()
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
        self.ask(Order::Commit).await
    }

    async fn rollback(self: Box<Self>) {
        self.ask(Order::Rollback).await;
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
