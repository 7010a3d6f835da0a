use std::time::Duration;

use outbox_core::{Admission, MessageId, Processed, TransactionPolicy};

use super::{InboxFixture, OpenAdmission};
use crate::transaction_suite::FixtureError;

/// The consumer of most cases.
pub(super) const BILLING: &str = "billing";

/// Nobody who meets a transaction that is open waits for longer. Adapters promise a second or so; a single writer is waited
/// for, for as long as the connection is told to.
pub(super) const BOUND: Duration = Duration::from_secs(5);
pub(super) const SINGLE_WRITER_BOUND: Duration = Duration::from_secs(15);

/// Begins a transaction at the default isolation level, and admits the message in it.
pub(super) async fn begin<F: InboxFixture>(fixture: &F, id: &MessageId) -> Box<dyn OpenAdmission> {
    fixture.begin_admitted(BILLING, &TransactionPolicy::new(), id).await.unwrap()
}

/// What the inbox of a consumer says of a message; rolls back.
pub(super) async fn look_at<F: InboxFixture>(fixture: &F, consumer: &str, id: &MessageId) -> Admission {
    let guard = fixture.begin_admitted(consumer, &TransactionPolicy::new(), id).await.unwrap();
    let admission = guard.admission();
    guard.rollback().await;
    admission
}

/// Handles a message that must be fresh, without effects.
pub(super) async fn handle<F: InboxFixture>(fixture: &F, consumer: &str, id: &MessageId) {
    let guard = fixture.begin_admitted(consumer, &TransactionPolicy::new(), id).await.unwrap();
    assert_eq!(guard.admission(), Admission::Fresh);
    assert_eq!(guard.commit().await.unwrap(), Processed::Applied(()));
}

/// Commits messages in one transaction, all of them fresh.
pub(super) async fn handle_all<F: InboxFixture>(fixture: &F, ids: &[MessageId]) {
    let admissions = fixture.admit_all(BILLING, ids, true).await.unwrap();
    assert_eq!(admissions, vec![Admission::Fresh; ids.len()]);
}

/// New ids.
pub(super) fn ids(count: usize) -> Vec<MessageId> {
    (0..count).map(|_| MessageId::new()).collect()
}

/// A policy whose pauses cost no time.
pub(super) fn quick(attempts: u32) -> TransactionPolicy {
    let pause = Duration::from_millis(1);
    TransactionPolicy::new().attempts(attempts).pauses(pause, pause)
}

/// What comes in time.
pub(super) async fn in_time<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, what).await.expect("it does not wait for the open transaction")
}

/// The body's own error.
pub(super) fn no() -> FixtureError {
    FixtureError::body("no")
}
