//! What the inbox suite needs to know about sea-orm, and what only its inbox can be asked.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_conformance::inbox_suite::{InboxFixture, OpenAdmission};
use outbox_conformance::transaction_suite::{Body, FixtureError, FixtureScope};
use outbox_core::{
    Admission, InboxAdmin, InboxStore, MessageId, OutboxAdmin, OutboxMessage, OutboxStore, Processed,
    TransactionPolicy,
};
use outbox_seaorm::{InboxGuard, SeaOrmInbox, SeaOrmStore, TransactionError};
use outbox_sql::TableNames;
use sea_orm::{ConnectionTrait, DatabaseExecutor, DbErr, TransactionTrait};

use crate::fixture::{Fixture, TestDatabase, select};
use crate::transactions::Scope;
use crate::writer::{ids, message};

/// Expands to one test per case.
macro_rules! inbox_cases {
    ($fixture:ty: $($case:ident)+) => {
        $(
            #[test]
            fn $case() {
                outbox_conformance::run_case::<$fixture, _, _>($crate::inbox::$case);
            }
        )+
    };
}
pub(crate) use inbox_cases;

#[async_trait]
impl<DB: TestDatabase> InboxFixture for Fixture<DB> {
    async fn begin_admitted(
        &self,
        consumer: &str,
        policy: &TransactionPolicy,
        id: &MessageId,
    ) -> Result<Box<dyn OpenAdmission>, FixtureError> {
        let begun = self.inbox(consumer).begin_with(&self.db, policy, id).await;
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
        inbox.process_with(&self.db, policy, id, async |tx| body(&mut Scope(tx)).await).await
    }

    async fn admit_all(
        &self,
        consumer: &str,
        ids: &[MessageId],
        commit: bool,
    ) -> Result<Vec<Admission>, FixtureError> {
        let inbox = self.inbox(consumer);
        let transaction = self.writer.begin(&self.db).await.map_err(FixtureError::database)?;
        let admissions = inbox.admit_all(&transaction, ids).await;
        if admissions.is_ok() && commit {
            transaction.commit().await?;
        } else {
            transaction.rollback().await;
        }
        admissions.map_err(FixtureError::database)
    }

    fn inbox_admin(&self) -> &dyn InboxAdmin {
        &*self.store
    }
}

impl<DB: TestDatabase> Fixture<DB> {
    fn inbox(&self, consumer: &str) -> SeaOrmInbox {
        SeaOrmInbox::new(consumer).unwrap().writing_to(self.writer.clone())
    }
}

struct Admitted(InboxGuard);

#[async_trait]
impl FixtureScope for Admitted {
    fn add(&mut self, message: OutboxMessage) {
        self.0.tx().add(message);
    }

    async fn flush(&mut self) -> Result<(), FixtureError> {
        Scope(self.0.tx()).flush().await
    }

    async fn execute(&mut self, sql: &str) -> Result<(), FixtureError> {
        Scope(self.0.tx()).execute(sql).await
    }

    async fn number(&mut self, sql: &str) -> Result<i64, FixtureError> {
        Scope(self.0.tx()).number(sql).await
    }
}

#[async_trait]
impl OpenAdmission for Admitted {
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

/// A transaction of sea-orm's own, and each kind of closure that it has, takes what was admitted in it along.
pub(crate) async fn an_admission_shares_the_fate_of_its_transaction<DB: TestDatabase>(
    fixture: Arc<Fixture<DB>>,
) {
    let inbox = fixture.inbox("billing");
    let id = MessageId::new();
    let txn = fixture.db.begin().await.unwrap();
    assert_eq!(inbox.admit(&txn, &id).await.unwrap(), Admission::Fresh);
    txn.rollback().await.unwrap();
    let failed = fixture.db.transaction_async(async |txn| -> Result<(), DbErr> {
        assert_eq!(inbox.admit(txn, &id).await?, Admission::Fresh);
        Err(DbErr::Custom("out of stock".to_owned()))
    });
    failed.await.unwrap_err();
    let committed =
        fixture.db.transaction_async(async |txn| -> Result<_, DbErr> { inbox.admit(txn, &id).await });
    assert_eq!(committed.await.unwrap(), Admission::Fresh);
    let mut txn = fixture.db.begin().await.unwrap();
    assert_eq!(InboxStore::admit(&inbox, &mut txn, &id).await.unwrap(), Admission::Duplicate);
    let admissions = InboxStore::admit_all(&inbox, &mut txn, &[id, MessageId::new()]).await.unwrap();
    assert_eq!(admissions, [Admission::Duplicate, Admission::Fresh]);
    txn.rollback().await.unwrap();
}

/// A nested transaction that is rolled back takes what was admitted in it along, and nothing else.
pub(crate) async fn a_savepoint_takes_its_admissions_along<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let inbox = fixture.inbox("billing");
    let [kept, lost] = [MessageId::new(), MessageId::new()];
    let txn = fixture.db.begin().await.unwrap();
    assert_eq!(inbox.admit(&txn, &kept).await.unwrap(), Admission::Fresh);
    let inner = txn.begin().await.unwrap();
    let admissions = inbox.admit_all(&inner, &[lost, MessageId::new()]).await.unwrap();
    assert_eq!(admissions, [Admission::Fresh; 2]);
    inner.rollback().await.unwrap();
    txn.commit().await.unwrap();
    let txn = fixture.db.begin().await.unwrap();
    let admissions = inbox.admit_all(&txn, &[lost, kept]).await.unwrap();
    assert_eq!(admissions, [Admission::Fresh, Admission::Duplicate]);
    txn.rollback().await.unwrap();
}

/// An executor is admitted through if it is a transaction, and refused if it is a pool.
pub(crate) async fn an_executor_must_be_a_transaction<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let inbox = fixture.inbox("billing");
    let id = MessageId::new();
    let pool = DatabaseExecutor::from(&fixture.db);
    for error in
        [inbox.admit(&pool, &id).await.unwrap_err(), inbox.admit_all(&pool, &[id]).await.unwrap_err()]
    {
        assert!(error.to_string().contains("transaction"), "{error}");
    }
    let txn = fixture.db.begin().await.unwrap();
    assert_eq!(inbox.admit(&DatabaseExecutor::from(&txn), &id).await.unwrap(), Admission::Fresh);
    txn.commit().await.unwrap();
}

/// Entities are written through the guard, and what they do goes with it.
pub(crate) async fn a_guard_is_a_connection<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    fixture.db.execute_unprepared("CREATE TABLE accounts (id int NOT NULL)").await.unwrap();
    let inbox = fixture.inbox("billing");
    let received = message();
    for (commit, expected) in [(false, 0), (true, 1), (true, 1)] {
        let mut guard = inbox.begin(&fixture.db, &received).await.unwrap();
        if guard.fresh() {
            insert(guard.tx()).await.unwrap();
        }
        if commit {
            assert!(guard.commit().await.unwrap().is_done());
        } else {
            guard.rollback().await;
        }
        let accounts = select::<i64>(&fixture.db, "SELECT count(*) FROM accounts").await;
        assert_eq!(accounts, [expected]);
    }
}

/// What repositories take.
async fn insert<C: ConnectionTrait>(connection: &C) -> Result<(), DbErr> {
    connection.execute_unprepared("INSERT INTO accounts (id) VALUES (7)").await.map(drop)
}

/// Two inboxes in one database know nothing of each other, and each writes to the outbox beside it.
pub(crate) async fn names_can_be_chosen<DB: TestDatabase>(fixture: Arc<Fixture<DB>>) {
    let names = TableNames::new(None, "shop_").unwrap();
    let store = SeaOrmStore::with_names(&fixture.db, names.clone());
    store.migrate().await.unwrap();
    let inboxes = [SeaOrmInbox::new("billing").unwrap(), SeaOrmInbox::with_names("billing", &names).unwrap()];
    let received = message();
    for inbox in &inboxes {
        assert_eq!(inbox.consumer().as_str(), "billing");
        let sent = message();
        let processed = inbox.process(&fixture.db, &received, async |tx| {
            tx.add(sent.clone());
            Ok::<_, TransactionError>(7)
        });
        assert_eq!(processed.await.unwrap(), Processed::Applied(7));
        let processed = inbox.process(&fixture.db, &received, async |_| -> Result<i32, TransactionError> {
            unreachable!("it was handled");
        });
        assert_eq!(processed.await.unwrap(), Processed::Duplicate);
    }
    assert_eq!(fixture.fresh().await.len(), 1);
    assert!(!store.is_empty().await.unwrap());
    let kept = message();
    let to_default = inboxes[1].clone().writing_to(fixture.writer.clone());
    let processed = to_default.process(&fixture.db, &kept, async |tx| {
        tx.add(kept.clone());
        Ok::<_, TransactionError>(())
    });
    assert_eq!(processed.await.unwrap(), Processed::Applied(()));
    assert_eq!(fixture.fresh_ids().await[1..], ids(&[kept]));
}
