//! What the inbox suite needs to know about sqlx.

use async_trait::async_trait;
use outbox_conformance::inbox_suite::{InboxFixture, OpenAdmission};
use outbox_conformance::transaction_suite::{Body, FixtureError, FixtureScope};
use outbox_core::{Admission, InboxAdmin, MessageId, OutboxMessage, Processed, TransactionPolicy};
use outbox_sqlx::{InboxGuard, SqlxInbox};

use crate::fixture::{Fixture, TestDatabase};
use crate::transactions::Scope;

impl<DB: TestDatabase> Fixture<DB> {
    fn inbox(&self, consumer: &str) -> SqlxInbox<DB> {
        SqlxInbox::new(consumer).unwrap().writing_to(self.writer.clone())
    }
}

#[async_trait]
impl<DB: TestDatabase> InboxFixture for Fixture<DB> {
    async fn begin_admitted(
        &self,
        consumer: &str,
        policy: &TransactionPolicy,
        id: &MessageId,
    ) -> Result<Box<dyn OpenAdmission>, FixtureError> {
        let begun = self.inbox(consumer).begin_with(&self.pool, policy, id).await;
        Ok(Box::new(Admitted(begun.map_err(FixtureError::database)?)))
    }

    async fn process(
        &self,
        consumer: &str,
        policy: TransactionPolicy,
        id: &MessageId,
        body: Body,
    ) -> Result<Processed, FixtureError> {
        let inbox = self.inbox(consumer);
        inbox.process_with(&self.pool, policy, id, async |tx| body(&mut Scope::new(tx)).await).await
    }

    async fn admit_all(
        &self,
        consumer: &str,
        ids: &[MessageId],
        commit: bool,
    ) -> Result<Vec<Admission>, FixtureError> {
        let mut transaction = self.writer.begin(&self.pool).await.map_err(FixtureError::database)?;
        match self.inbox(consumer).admit_all(&mut transaction, ids).await {
            Ok(admissions) if commit => {
                transaction.commit().await?;
                Ok(admissions)
            }
            ended => {
                transaction.rollback().await;
                ended.map_err(FixtureError::database)
            }
        }
    }

    fn inbox_admin(&self) -> &dyn InboxAdmin {
        &*self.store
    }
}

struct Admitted<DB: TestDatabase>(InboxGuard<DB>);

#[async_trait]
impl<DB: TestDatabase> FixtureScope for Admitted<DB> {
    fn add(&mut self, message: OutboxMessage) {
        self.0.tx().add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Ok(self.0.tx().flush().await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        Scope::new(self.0.tx()).execute(sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        Scope::new(self.0.tx()).number(sql).await
    }
}

#[async_trait]
impl<DB: TestDatabase> OpenAdmission for Admitted<DB> {
    fn admission(&self) -> Admission {
        self.0.admission()
    }

    async fn commit(self: Box<Self>) -> Result<Processed, FixtureError> {
        Ok(self.0.commit().await?)
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await;
    }
}
