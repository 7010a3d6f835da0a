//! What the inbox suite needs to know about diesel's own connections.

use std::sync::mpsc;

use async_trait::async_trait;
use diesel::connection::TransactionManager;
use outbox_conformance::inbox_suite::{InboxFixture, OpenAdmission};
use outbox_conformance::transaction_suite::{Body, FixtureError, FixtureScope};
use outbox_core::{Admission, InboxAdmin, MessageId, OutboxMessage, Processed, TransactionPolicy};
use outbox_diesel::DieselInbox;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::fixture::{Fixture, TestDatabase};
use crate::transactions::{End, Scope, run, work};

impl<C: TestDatabase> Fixture<C> {
    fn inbox(&self, consumer: &str) -> DieselInbox<C::Database> {
        DieselInbox::new(consumer).unwrap().writing_to(self.writer.clone())
    }
}

#[async_trait]
impl<C: TestDatabase> InboxFixture for Fixture<C> {
    async fn begin_admitted(
        &self,
        consumer: &str,
        policy: &TransactionPolicy,
        id: &MessageId,
    ) -> Result<Box<dyn OpenAdmission>, FixtureError> {
        let (pool, inbox) = (self.pool.clone(), self.inbox(consumer));
        let (policy, id) = (policy.clone(), *id);
        let (sender, jobs) = mpsc::channel();
        let (begun, has_begun) = oneshot::channel();
        let (running, ended) = mpsc::channel::<()>();
        spawn_blocking(move || {
            let _running = running;
            let mut connection = pool.get().unwrap();
            let mut guard = match inbox.begin_with(&mut connection, &policy, id) {
                Ok(guard) => guard,
                Err(error) => return begun.send(Err(FixtureError::database(error))).unwrap(),
            };
            assert_eq!(guard.fresh(), guard.admission() == Admission::Fresh);
            begun.send(Ok(guard.admission())).unwrap();
            // Whoever is told of the end finds the connection in its pool.
            match work(&jobs, guard.tx()) {
                Some(End::Commit(tell)) => {
                    let committed = guard.commit();
                    drop(connection);
                    tell.send(committed).unwrap();
                }
                Some(End::Rollback(tell)) => {
                    guard.rollback();
                    drop(connection);
                    tell.send(()).unwrap();
                }
                None => drop(guard),
            }
        });
        let admission = has_begun.await.unwrap()?;
        Ok(Box::new(Admitted { scope: Scope::<C> { jobs: Some(sender), ended: Some(ended) }, admission }))
    }

    async fn process(
        &self,
        consumer: &str,
        policy: TransactionPolicy,
        id: &MessageId,
        body: Body,
    ) -> Result<Processed, FixtureError> {
        let (pool, inbox, id) = (self.pool.clone(), self.inbox(consumer), *id);
        let runtime = Handle::current();
        let process = move || {
            let connection = &mut pool.get().unwrap();
            inbox.process_with(connection, policy, id, |tx| run::<C>(&runtime, &body, tx))
        };
        spawn_blocking(process).await.unwrap()
    }

    /// In a transaction of diesel's own.
    async fn admit_all(
        &self,
        consumer: &str,
        ids: &[MessageId],
        commit: bool,
    ) -> Result<Vec<Admission>, FixtureError> {
        let (pool, inbox, ids) = (self.pool.clone(), self.inbox(consumer), ids.to_vec());
        let admit = move || {
            let mut connection = pool.get().unwrap();
            let connection: &mut C = &mut connection;
            C::TransactionManager::begin_transaction(connection)?;
            let admitted = inbox.admit_all(connection, &ids);
            if commit && admitted.is_ok() {
                C::TransactionManager::commit_transaction(connection)?;
            } else {
                C::TransactionManager::rollback_transaction(connection)?;
            }
            admitted
        };
        spawn_blocking(admit).await.unwrap().map_err(FixtureError::database)
    }

    fn inbox_admin(&self) -> &dyn InboxAdmin {
        &*self.store
    }
}

/// A guard, which is on another thread.
struct Admitted<C: TestDatabase> {
    scope: Scope<C>,
    admission: Admission,
}

#[async_trait]
impl<C: TestDatabase> FixtureScope for Admitted<C> {
    fn add(&mut self, message: OutboxMessage) {
        self.scope.add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        self.scope.flush().await
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        self.scope.execute(sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        self.scope.number(sql).await
    }
}

#[async_trait]
impl<C: TestDatabase> OpenAdmission for Admitted<C> {
    fn admission(&self) -> Admission {
        self.admission
    }

    async fn commit(self: Box<Self>) -> Result<Processed, FixtureError> {
        self.scope.commit().await
    }

    async fn rollback(self: Box<Self>) {
        self.scope.rollback().await;
    }
}
