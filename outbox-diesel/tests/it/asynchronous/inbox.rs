//! What the inbox suite needs to know about diesel-async.

use async_trait::async_trait;
use diesel_async::{AsyncConnection, TransactionManager};
use outbox_conformance::inbox_suite::{InboxFixture, OpenAdmission};
use outbox_conformance::transaction_suite::{Body, FixtureError, FixtureScope};
use outbox_core::{Admission, InboxAdmin, MessageId, OutboxMessage, Processed, TransactionPolicy};
use outbox_diesel::{AsyncDieselInbox, AsyncOutboxTransaction};
use tokio::sync::{mpsc, oneshot};

use super::fixture::{Fixture, TestDatabase};
use super::transactions::{End, Open, Scope, obey};

impl<C: TestDatabase> Fixture<C> {
    fn inbox(&self, consumer: &str) -> AsyncDieselInbox<C::Database> {
        AsyncDieselInbox::new(consumer).unwrap().writing_to(self.writer.clone())
    }
}

#[async_trait]
impl<C: TestDatabase> InboxFixture for Fixture<C> {
    /// A guard borrows its connection: both are in a task of their own.
    async fn begin_admitted(
        &self,
        consumer: &str,
        policy: &TransactionPolicy,
        id: &MessageId,
    ) -> Result<Box<dyn OpenAdmission>, FixtureError> {
        let mut connection = self.users.get_owned().await.unwrap();
        let (inbox, policy, id) = (self.inbox(consumer), policy.clone(), *id);
        let (orders, mut received) = mpsc::unbounded_channel();
        let (begun, answer) = oneshot::channel();
        tokio::spawn(async move {
            let mut guard = match inbox.begin_with(&mut *connection, &policy, id).await {
                Ok(guard) => guard,
                Err(error) => return begun.send(Err(FixtureError::database(error))).unwrap(),
            };
            assert_eq!(guard.fresh(), guard.admission() == Admission::Fresh);
            begun.send(Ok(guard.admission())).unwrap();
            match obey::<C>(guard.tx(), &mut received).await {
                Some(End::Commit(answer)) => {
                    answer.send(guard.commit().await.map_err(Into::into)).unwrap();
                }
                Some(End::Rollback(answer)) => {
                    guard.rollback().await;
                    answer.send(()).unwrap();
                }
                None => {}
            }
        });
        let admission = answer.await.unwrap()?;
        Ok(Box::new(Admitted { scope: Open(orders), admission }))
    }

    async fn process(
        &self,
        consumer: &str,
        policy: TransactionPolicy,
        id: &MessageId,
        body: Body,
    ) -> Result<Processed, FixtureError> {
        let mut connection = self.users.get().await.unwrap();
        let body = async |tx: &mut AsyncOutboxTransaction<'_, C::User>| body(&mut Scope::<C>(tx)).await;
        self.inbox(consumer).process_with(&mut *connection, policy, id, body).await
    }

    /// In a transaction of diesel's own.
    async fn admit_all(
        &self,
        consumer: &str,
        ids: &[MessageId],
        commit: bool,
    ) -> Result<Vec<Admission>, FixtureError> {
        let mut connection = self.users.get().await.unwrap();
        admit_all(&mut *connection, &self.inbox(consumer), ids, commit).await.map_err(FixtureError::database)
    }

    fn inbox_admin(&self) -> &dyn InboxAdmin {
        &*self.store
    }
}

async fn admit_all<C: AsyncConnection<Backend: outbox_diesel::Backend>>(
    connection: &mut C,
    inbox: &AsyncDieselInbox<C::Backend>,
    ids: &[MessageId],
    commit: bool,
) -> diesel::QueryResult<Vec<Admission>> {
    C::TransactionManager::begin_transaction(connection).await?;
    let admitted = inbox.admit_all(connection, ids).await;
    if commit && admitted.is_ok() {
        C::TransactionManager::commit_transaction(connection).await?;
    } else {
        C::TransactionManager::rollback_transaction(connection).await?;
    }
    admitted
}

/// A guard, which is in another task.
struct Admitted {
    scope: Open,
    admission: Admission,
}

#[async_trait]
impl FixtureScope for Admitted {
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
impl OpenAdmission for Admitted {
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
