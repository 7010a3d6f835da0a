//! Many messages in one transaction.

use std::sync::Arc;

use outbox_core::{Admission, MessageId};

use super::InboxFixture;
use super::work::{BILLING, BOUND, SINGLE_WRITER_BOUND, begin, handle, handle_all, ids, in_time, look_at};
use crate::transaction_suite::FixtureErrorKind;

use Admission::{Busy, Duplicate, Fresh};

/// What was admitted in a list is admitted.
pub async fn all_are_fresh_and_then_duplicates<F: InboxFixture>(fixture: Arc<F>) {
    let list = ids(10);
    handle_all(&*fixture, &list).await;
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), vec![Duplicate; 10]);
    assert_eq!(look_at(&*fixture, BILLING, &list[9]).await, Duplicate);
    assert_eq!(fixture.admit_all("shipping", &list, true).await.unwrap(), vec![Fresh; 10]);
}

/// Whatever order the inbox asks in.
pub async fn admissions_come_in_the_order_of_the_list<F: InboxFixture>(fixture: Arc<F>) {
    let mut list = ids(6);
    list.reverse();
    list.swap(2, 5);
    handle(&*fixture, BILLING, &list[1]).await;
    handle_all(&*fixture, &[list[3], list[4]]).await;
    let admissions = fixture.admit_all(BILLING, &list, true).await.unwrap();
    assert_eq!(admissions, [Fresh, Duplicate, Fresh, Duplicate, Duplicate, Fresh]);
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), vec![Duplicate; 6]);
}

/// A message that occurs twice is fresh the first time it occurs, if it ever is.
pub async fn the_second_of_a_list_is_a_duplicate<F: InboxFixture>(fixture: Arc<F>) {
    let known = MessageId::new();
    handle(&*fixture, BILLING, &known).await;
    let (a, b) = (MessageId::new(), MessageId::new());
    let list = [b, a, known, b, known, a, b];
    let admissions = fixture.admit_all(BILLING, &list, true).await.unwrap();
    assert_eq!(admissions, [Fresh, Fresh, Duplicate, Duplicate, Duplicate, Duplicate, Duplicate]);
}

/// Lists that are hardly one.
pub async fn lists_of_none_and_of_one<F: InboxFixture>(fixture: Arc<F>) {
    assert_eq!(fixture.admit_all(BILLING, &[], true).await.unwrap(), []);
    let id = MessageId::new();
    assert_eq!(fixture.admit_all(BILLING, &[id], true).await.unwrap(), [Fresh]);
    assert_eq!(fixture.admit_all(BILLING, &[id], true).await.unwrap(), [Duplicate]);
}

/// More than fit into a statement, in any order.
pub async fn thousands_are_one_list<F: InboxFixture>(fixture: Arc<F>) {
    handle_all(&*fixture, &ids(1_000)).await;
    let mut list = ids(2_300);
    list.sort_by_key(|id| id.as_bytes()[15]);
    handle_all(&*fixture, &list).await;
    list.push(MessageId::new());
    list.insert(0, MessageId::new());
    let mut expected = vec![Duplicate; 2_302];
    (expected[0], expected[2_301]) = (Fresh, Fresh);
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), expected);
}

/// All of them, also where some were duplicates.
pub async fn a_list_that_is_rolled_back_is_fresh<F: InboxFixture>(fixture: Arc<F>) {
    let list = ids(9);
    for _ in 0..2 {
        assert_eq!(fixture.admit_all(BILLING, &list, false).await.unwrap(), vec![Fresh; 9]);
    }
    handle(&*fixture, BILLING, &list[0]).await;
    let mut expected = vec![Fresh; 9];
    expected[0] = Duplicate;
    for _ in 0..2 {
        assert_eq!(fixture.admit_all(BILLING, &list, false).await.unwrap(), expected);
    }
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), expected);
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), vec![Duplicate; 9]);
}

/// The others are admitted all the same, and committed.
pub async fn one_that_is_busy_does_not_stop_the_rest<F: InboxFixture>(fixture: Arc<F>) {
    let list = ids(5);
    handle(&*fixture, BILLING, &list[4]).await;
    let guard = begin(&*fixture, &list[2]).await;
    let admissions = fixture.admit_all(BILLING, &list, true);
    if !fixture.sql().has_row_locks {
        let error = in_time(SINGLE_WRITER_BOUND, admissions).await.unwrap_err();
        assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
        guard.rollback().await;
        return;
    }
    let admissions = in_time(BOUND, admissions).await.unwrap();
    assert_eq!(admissions, [Fresh, Fresh, Busy, Fresh, Duplicate]);
    guard.rollback().await;
    let admissions = fixture.admit_all(BILLING, &list, true).await.unwrap();
    assert_eq!(admissions, [Duplicate, Duplicate, Fresh, Duplicate, Duplicate]);
}

/// Nobody waits for each of them.
pub async fn many_that_are_busy_cost_the_time_of_one<F: InboxFixture>(fixture: Arc<F>) {
    let locks = fixture.sql().has_row_locks.then_some(());
    if crate::offered("second transaction that writes at the same time", locks).is_none() {
        return;
    }
    // One connection each.
    let list = ids(7);
    let mut guards = Vec::new();
    for id in &list[1..] {
        guards.push(begin(&*fixture, id).await);
    }
    let admissions = in_time(BOUND, fixture.admit_all(BILLING, &list, true)).await.unwrap();
    assert_eq!(admissions, [Fresh, Busy, Busy, Busy, Busy, Busy, Busy]);
    for guard in guards {
        let _ = guard.commit().await.unwrap();
    }
    assert_eq!(fixture.admit_all(BILLING, &list, true).await.unwrap(), vec![Duplicate; 7]);
}
