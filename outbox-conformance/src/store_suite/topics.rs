//! Which rows a destination's topic filter lets through.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{ClaimSource, OperatorAction, OrderingKey, OutboxMessage, OutboxStore, Scope, TopicFilter};

use super::message::about;
use super::relay::{MANY, TestRelay, ids, row_of};
use crate::StoreFixture;

/// Names that differ where `LIKE` and regular expressions have wild cards, and in case.
const TOPICS: &[&str] = &[
    "a_b", "axb", "a_b_c", "axbxc", "a%b", "ab", "a%", "a.b", "a.b.c", "a-b", "a[b]", "[ab]", "a^b", "^ab",
    "ab$", "a(b)", "a+b", "aab", "a|b", "a?b", "A_B", "a_B", "a", "b", "a/b:c", "a#b", "a{1}", "a~b", "a&b",
    "a;b", "--", "a!b",
];

/// Includes, excludes and prefixes mean exactly what [`TopicFilter::matches`] says, whatever characters a name has.
pub async fn filters_take_names_literally<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let batch: Vec<_> = TOPICS.iter().map(|topic| about(topic).build().unwrap()).collect();
    fixture.enqueue(&batch).await;
    let mut filters: Vec<TopicFilter> = Vec::new();
    for topic in TOPICS {
        filters.push(filter(&[topic], &[]));
        filters.push(filter(&[&format!("{topic}*")], &[]));
        filters.push(filter(&[], &[topic]));
        filters.push(filter(&[], &[&format!("{topic}*")]));
    }
    filters.push(filter(&["*"], &[]));
    filters.push(filter(&[], &["*"]));
    filters.push(filter(&["a_*", "a%*", "b"], &["a_b_*", "a%"]));
    filters.push(filter(&["a*"], &["a*"]));
    filters.push(filter(&["unknown"], &[]));
    for filter in filters {
        let expected = passing(&batch, &filter);
        let scope = Scope { topics: filter, ..relay.scope() };
        let rows = relay.claim_in(&scope, ClaimSource::Fresh { after: 0 }).await;
        assert_eq!(topics(&rows), expected, "claimed with {:?}", scope.topics);
        let scanned = relay.store.scan(&scope, 0, i64::MAX, MANY).await.unwrap();
        assert_eq!(scanned.len(), expected.len(), "scanned with {:?}", scope.topics);
    }
}

/// The filter holds for every read: exact, due, held, holds, the next due time and requests.
pub async fn filters_hold_for_every_read<F: StoreFixture>(fixture: Arc<F>) {
    let relay = TestRelay::owner(&*fixture).await;
    let of = |topic: &str, key: &str| about(topic).ordering_key(key).build().unwrap();
    // Of each topic a retrying head with a held follower, and a parked message.
    let mine = [of("mine", "1"), of("mine", "1"), of("mine", "2")];
    let other = [of("other", "3"), of("other", "3"), of("other", "4")];
    let fresh = [of("mine", "5"), of("other", "6")];
    for batch in [&mine, &other] {
        fixture.enqueue(batch).await;
        relay.block(&batch[..2], Duration::ZERO).await;
        relay.park(&batch[2..]).await;
        relay.asked(&batch[2], OperatorAction::Replay).await;
    }
    fixture.enqueue(&fresh).await;
    let scope = Scope { topics: filter(&["mine"], &[]), ..relay.scope() };
    let store = &relay.store;

    let rows = relay.fresh().await;
    let seqs = vec![row_of(&rows, &fresh[0]).number, row_of(&rows, &fresh[1]).number];
    assert_eq!(ids(&relay.claim_in(&scope, ClaimSource::Exact { seqs }).await), [*fresh[0].id()]);
    assert_eq!(ids(&relay.claim_in(&scope, ClaimSource::Due { after: None }).await), [*mine[0].id()]);
    let keys = ["1", "3"].map(OrderingKey::stored).to_vec();
    assert_eq!(ids(&relay.claim_in(&scope, ClaimSource::Held { keys, after: 0 }).await), [*mine[1].id()]);
    let mut held: Vec<_> =
        store.holds(&scope, None, MANY).await.unwrap().into_iter().map(|hold| hold.key).collect();
    held.sort();
    assert_eq!(held, ["1", "2"].map(OrderingKey::stored));
    let requests = store.requests(&scope, MANY).await.unwrap();
    assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [*mine[2].id()]);
    assert!(store.next_due(&scope).await.unwrap().is_some());
    let nothing = Scope { topics: filter(&["unknown"], &[]), ..relay.scope() };
    assert_eq!(store.next_due(&nothing).await.unwrap(), None);
}

fn filter(include: &[&str], exclude: &[&str]) -> TopicFilter {
    let parse = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    TopicFilter { include: parse(include), exclude: parse(exclude) }
}

fn passing<'a>(batch: &'a [OutboxMessage], filter: &TopicFilter) -> Vec<&'a str> {
    batch.iter().map(|message| message.topic().as_str()).filter(|topic| filter.matches(topic)).collect()
}

fn topics(rows: &[outbox_core::StoredMessage]) -> Vec<&str> {
    rows.iter().map(|row| row.message.topic().as_str()).collect()
}
