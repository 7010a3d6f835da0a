//! What a writer tells whoever it was given: see [`outbox_core::CommitHint`].

use std::sync::Arc;

use outbox_core::TransactionPolicy;

use super::TransactionFixture;
use super::work::{message, payloads};
use crate::StoreFixture;

/// In a transaction of its user's own, whose end nobody learns of, each call that writes something leaves a hint.
pub async fn a_message_in_a_transaction_of_its_users_own_is_expected<F: TransactionFixture>(fixture: Arc<F>) {
    let mut own = StoreFixture::begin(&*fixture).await;
    own.enqueue(&[]).await;
    assert_eq!(fixture.hints().given(), (0, 0), "nothing was written");
    own.enqueue(&[message("a")]).await;
    assert_eq!(fixture.hints().given(), (1, 0));
    own.enqueue(&[message("b"), message("c")]).await;
    assert_eq!(fixture.hints().given(), (2, 0), "one per call, not per message");
    own.commit().await;
    assert_eq!(fixture.hints().given(), (2, 0));
    assert_eq!(payloads(&*fixture).await, ["a", "b", "c"]);
}

/// A rollback takes the messages back, and not the hint.
pub async fn a_rolled_back_message_was_expected<F: TransactionFixture>(fixture: Arc<F>) {
    let mut own = StoreFixture::begin(&*fixture).await;
    own.enqueue(&[message("a")]).await;
    own.rollback().await;
    assert_eq!(fixture.hints().given(), (1, 0));
    assert_eq!(payloads(&*fixture).await, [""; 0]);
}

/// A transaction with messages knows its end: it expects nothing, and says what is committed, when it is.
pub async fn a_transaction_with_messages_says_when_they_are_committed<F: TransactionFixture>(
    fixture: Arc<F>,
) {
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.add(message("a"));
    scope.flush().await.unwrap();
    scope.rollback().await;
    assert_eq!(fixture.hints().given(), (0, 0));
    let mut scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.add(message("b"));
    scope.flush().await.unwrap();
    scope.add(message("c"));
    assert_eq!(fixture.hints().given(), (0, 0));
    scope.commit().await.unwrap();
    assert_eq!(fixture.hints().given(), (0, 1));
    let scope = TransactionFixture::begin(&*fixture, &TransactionPolicy::new()).await.unwrap();
    scope.commit().await.unwrap();
    assert_eq!(fixture.hints().given(), (0, 1), "nothing was written");
}
