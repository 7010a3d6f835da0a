//! The end of what an inbox remembers.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Admission, ConsumerName, MessageId};

use super::InboxFixture;
use super::work::{BILLING, BOUND, begin, handle, handle_all, ids, in_time, look_at};
use crate::transaction_suite::PlainConnection;

const MESSAGES: (&str, &str) = ("inbox_messages", "processed_at");
const TRIES: (&str, &str) = ("inbox_attempts", "last_attempt_at");

/// Makes it look as if something had happened so many seconds ago.
async fn age<F: InboxFixture>(fixture: &F, (table, time): (&str, &str), id: &MessageId, seconds: u32) {
    let sql = fixture.sql();
    let (then, id) = ((sql.seconds_ago)(seconds), (sql.id)(id));
    let update = format!("UPDATE {table} SET {time} = {then} WHERE message_id = {id}");
    fixture.connect().await.execute(&update).await.unwrap();
}

async fn purge<F: InboxFixture>(fixture: &F, seconds: u64, limit: u32) -> u64 {
    let billing = ConsumerName::new(BILLING).unwrap();
    fixture.inbox_admin().purge_inbox(&billing, Duration::from_secs(seconds), limit).await.unwrap()
}

async fn rows(look: &mut dyn PlainConnection, (table, _): (&str, &str)) -> i64 {
    look.number(&format!("SELECT COUNT(*) FROM {table}")).await.unwrap()
}

/// By the database's clock, of this consumer only; what is purged is forgotten.
pub async fn nothing_younger_is_purged<F: InboxFixture>(fixture: Arc<F>) {
    let list = ids(5);
    handle_all(&*fixture, &list).await;
    handle(&*fixture, "shipping", &list[0]).await;
    for (id, seconds) in list.iter().zip([4_000, 3_700, 3_500, 60]) {
        age(&*fixture, MESSAGES, id, seconds).await;
    }
    assert_eq!(purge(&*fixture, 5_000, 100).await, 0);
    assert_eq!(purge(&*fixture, 3_600, 100).await, 2);
    assert_eq!(purge(&*fixture, 3_600, 100).await, 0);
    use Admission::{Duplicate, Fresh};
    for (id, expected) in list.iter().zip([Fresh, Fresh, Duplicate, Duplicate, Duplicate]) {
        assert_eq!(look_at(&*fixture, BILLING, id).await, expected);
    }
    assert_eq!(
        look_at(&*fixture, "shipping", &list[0]).await,
        Duplicate,
        "another consumer remembers longer"
    );
    handle(&*fixture, BILLING, &list[0]).await;
    assert_eq!(look_at(&*fixture, BILLING, &list[0]).await, Duplicate);
}

/// As many as allowed, and the oldest of them, so that one who stops in the middle has forgotten the right ones.
pub async fn a_purge_is_limited_and_takes_the_oldest<F: InboxFixture>(fixture: Arc<F>) {
    let list = ids(10);
    handle_all(&*fixture, &list).await;
    // The age has nothing to do with the order of the ids.
    let mut by_age = list.clone();
    by_age.rotate_left(3);
    by_age.swap(0, 9);
    for (id, seconds) in by_age.iter().zip((1..=10).map(|number| 10_000 - 500 * number)) {
        age(&*fixture, MESSAGES, id, seconds).await;
    }
    assert_eq!(purge(&*fixture, 100, 0).await, 0);
    for (limit, purged, left) in [(4, 4, 6), (1, 1, 5), (3, 3, 2)] {
        assert_eq!(purge(&*fixture, 100, limit).await, purged);
        let (old, young) = by_age.split_at(10 - left);
        for id in old {
            assert_eq!(look_at(&*fixture, BILLING, id).await, Admission::Fresh);
        }
        for id in young {
            assert_eq!(look_at(&*fixture, BILLING, id).await, Admission::Duplicate);
        }
    }
    assert_eq!(purge(&*fixture, 100, 3).await, 2, "less than allowed: nothing more is so old");
    assert_eq!(purge(&*fixture, 100, 3).await, 0);
}

/// By their last one, and by the same limit: so many of each.
pub async fn tries_are_purged<F: InboxFixture>(fixture: Arc<F>) {
    let (list, consumer) = (ids(5), ConsumerName::new(BILLING).unwrap());
    let admin = fixture.inbox_admin();
    for (id, seconds) in list.iter().zip([5_000, 4_000, 3_000, 10]) {
        admin.count_attempt(&consumer, id).await.unwrap();
        age(&*fixture, TRIES, id, seconds).await;
    }
    // Tried again, which makes it young.
    assert_eq!(admin.count_attempt(&consumer, &list[2]).await.unwrap(), Some(2));
    handle_all(&*fixture, &list).await;
    for id in &list[1..4] {
        age(&*fixture, MESSAGES, id, 5_000).await;
    }
    assert_eq!(purge(&*fixture, 600, 1).await, 2);
    let mut look = fixture.connect().await;
    assert_eq!(rows(&mut *look, MESSAGES).await, 4);
    assert_eq!(rows(&mut *look, TRIES).await, 3);
    assert_eq!(purge(&*fixture, 600, 10).await, 3);
    assert_eq!(rows(&mut *look, MESSAGES).await, 2);
    assert_eq!(rows(&mut *look, TRIES).await, 2);
    for (id, tries) in list.iter().zip([None, Some(1), Some(3), Some(2)]) {
        assert_eq!(admin.count_attempt(&consumer, id).await.unwrap(), tries);
    }
}

/// While a message is in work, others are admitted and old ones are purged.
pub async fn a_purge_and_admissions_do_not_wait_for_each_other<F: InboxFixture>(fixture: Arc<F>) {
    const OLD: usize = 2_000;
    handle_all(&*fixture, &ids(OLD)).await;
    let (table, time) = MESSAGES;
    let mut look = fixture.connect().await;
    look.execute(&format!("UPDATE {table} SET {time} = {}", (fixture.sql().seconds_ago)(5_000)))
        .await
        .unwrap();
    let young = MessageId::new();
    handle(&*fixture, BILLING, &young).await;
    let in_work = if fixture.sql().has_row_locks {
        // One that the purge meets right behind the last one that is old enough, and one with old and new ids around it.
        Some([
            begin(&*fixture, &MessageId::new()).await,
            begin(&*fixture, &MessageId::from_uuid(uuid::Uuid::nil())).await,
        ])
    } else {
        None
    };
    let purging = tokio::spawn({
        let fixture = Arc::clone(&fixture);
        async move {
            let mut purged = 0;
            loop {
                let now = in_time(BOUND, purge(&*fixture, 600, 50)).await;
                purged += usize::try_from(now).unwrap();
                if now < 50 {
                    return purged;
                }
            }
        }
    });
    let mut admitted = 0;
    while admitted < 20 || !purging.is_finished() {
        let id = MessageId::new();
        in_time(BOUND, handle(&*fixture, BILLING, &id)).await;
        assert_eq!(in_time(BOUND, look_at(&*fixture, BILLING, &young)).await, Admission::Duplicate);
        admitted += 1;
    }
    assert_eq!(purging.await.unwrap(), OLD);
    for guard in in_work.into_iter().flatten() {
        assert_eq!(guard.commit().await.unwrap(), outbox_core::Processed::Applied(()));
        admitted += 1;
    }
    assert_eq!(rows(&mut *look, MESSAGES).await, admitted + 1);
}
