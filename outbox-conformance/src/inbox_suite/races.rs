//! The same message at several consumers at once: one effect, whoever is first and however that one ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use outbox_core::{Admission, Isolation, MessageId, Processed, TransactionPolicy};
use tokio::sync::Barrier;
use tokio::time::Instant;

use super::InboxFixture;
use super::work::{BILLING, ids, no};
use crate::store_suite::eventually::Patience;
use crate::transaction_suite::storm::setting;
use crate::transaction_suite::work::{accounts, body, message, waiting};
use crate::transaction_suite::{FixtureError, FixtureErrorKind, FixtureScope};

const CONSUMERS: usize = 4;

/// Each statement sees what was committed before it.
pub async fn four_at_read_committed<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::ReadCommitted, false).await;
}

/// And the others take over from the first.
pub async fn four_at_read_committed_and_the_first_rolls_back<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::ReadCommitted, true).await;
}

/// A transaction does not see what is committed after its first statement.
pub async fn four_at_repeatable_read<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::RepeatableRead, false).await;
}

/// And the others take over from the first.
pub async fn four_at_repeatable_read_and_the_first_rolls_back<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::RepeatableRead, true).await;
}

/// As if one came after the other.
pub async fn four_at_serializable<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::Serializable, false).await;
}

/// And the others take over from the first.
pub async fn four_at_serializable_and_the_first_rolls_back<F: InboxFixture>(fixture: Arc<F>) {
    race(fixture, Isolation::Serializable, true).await;
}

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    applied: AtomicUsize,
    duplicates: AtomicUsize,
    busy: AtomicUsize,
    conflicts: AtomicUsize,
    rolled_back: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// One message, delivered to all consumers of a round.
struct Round {
    number: usize,
    id: MessageId,
    isolation: Isolation,
    /// Whether the next one who handles it rolls back.
    spoiled: AtomicBool,
    all_there: Barrier,
}

async fn race<F: InboxFixture>(fixture: Arc<F>, isolation: Isolation, spoiled: bool) {
    let has = fixture.sql().isolations.contains(&isolation).then_some(());
    if crate::offered("isolation level of that name", has).is_none() {
        return;
    }
    let mut look = accounts(&*fixture).await;
    // Without a key, so that a second effect is seen and not refused.
    look.execute("CREATE TABLE effects (message BIGINT NOT NULL)").await.unwrap();
    let count = setting("OUTBOX_INBOX_ROUNDS", 50);
    let rounds: Arc<Vec<Round>> = Arc::new(
        ids(count)
            .into_iter()
            .enumerate()
            .map(|(number, id)| Round {
                number,
                id,
                isolation,
                spoiled: AtomicBool::new(spoiled),
                all_there: Barrier::new(CONSUMERS),
            })
            .collect(),
    );
    let (tally, started) = (Arc::new(Tally::default()), Instant::now());
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..CONSUMERS {
        let (fixture, rounds, tally) = (Arc::clone(&fixture), Arc::clone(&rounds), Arc::clone(&tally));
        consumers.spawn(async move {
            for index in 0..rounds.len() {
                rounds[index].all_there.wait().await;
                let patience = Patience::new();
                loop {
                    let done = if (consumer + index) % 2 == 0 {
                        by_guard(&*fixture, &rounds[index], &tally).await
                    } else {
                        by_body(&*fixture, &rounds, index, &tally).await
                    };
                    if done {
                        break;
                    }
                    // A broker would deliver it again.
                    patience.pause("a message that is busy for ever").await;
                }
            }
        });
    }
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    report(&format!("{isolation:?}, spoiled: {spoiled}"), count, started, &tally);

    let count = i64::try_from(count).unwrap();
    assert_eq!(look.number("SELECT version FROM accounts WHERE id = 1").await.unwrap(), count);
    assert_eq!(look.number("SELECT COUNT(*) FROM effects").await.unwrap(), count);
    let different = "SELECT COUNT(*) FROM (SELECT message FROM effects GROUP BY message) AS different";
    assert_eq!(look.number(different).await.unwrap(), count);
    assert_eq!(i64::try_from(waiting(&*fixture).await.len()).unwrap(), count, "messages that were sent");
    let applied = tally.applied.load(Ordering::Relaxed);
    assert_eq!(i64::try_from(applied).unwrap(), count, "who was told that its effects are committed");
    assert_eq!(tally.duplicates.load(Ordering::Relaxed), applied * (CONSUMERS - 1));
    let rolled_back = tally.rolled_back.load(Ordering::Relaxed);
    assert_eq!(rolled_back, if spoiled { applied } else { 0 });
}

async fn effects(scope: &mut dyn FixtureScope, number: usize) -> Result<(), FixtureError> {
    scope.execute("UPDATE accounts SET version = version + 1 WHERE id = 1").await?;
    scope.execute(&format!("INSERT INTO effects (message) VALUES ({number})")).await?;
    scope.add(message(&number.to_string()));
    Ok(())
}

async fn by_guard<F: InboxFixture>(fixture: &F, round: &Round, tally: &Tally) -> bool {
    let policy = TransactionPolicy::new().isolation(round.isolation);
    let mut guard = match fixture.begin_admitted(BILLING, &policy, &round.id).await {
        Ok(guard) => guard,
        Err(error) => return unlucky(&error, tally),
    };
    if guard.admission() == Admission::Fresh {
        if let Err(error) = effects(&mut *guard, round.number).await {
            guard.rollback().await;
            return unlucky(&error, tally);
        }
        if round.spoiled.swap(false, Ordering::Relaxed) {
            guard.rollback().await;
            add(&tally.rolled_back);
            return false;
        }
    }
    ended(guard.commit().await, tally)
}

async fn by_body<F: InboxFixture>(
    fixture: &F,
    rounds: &Arc<Vec<Round>>,
    index: usize,
    tally: &Arc<Tally>,
) -> bool {
    let round = &rounds[index];
    let work = body({
        let (rounds, tally) = (Arc::clone(rounds), Arc::clone(tally));
        move |scope| {
            let (rounds, tally) = (Arc::clone(&rounds), Arc::clone(&tally));
            Box::pin(async move {
                effects(scope, rounds[index].number).await?;
                if rounds[index].spoiled.swap(false, Ordering::Relaxed) {
                    add(&tally.rolled_back);
                    return Err(no());
                }
                Ok(())
            })
        }
    });
    let policy = TransactionPolicy::new().isolation(round.isolation);
    match fixture.process(BILLING, policy, &round.id, work).await {
        Err(error) => {
            // It has begun anew after every conflict.
            assert_eq!(error.kind, FixtureErrorKind::Body, "{error}");
            false
        }
        processed => ended(processed, tally),
    }
}

fn ended(processed: Result<Processed, FixtureError>, tally: &Tally) -> bool {
    match processed {
        Ok(Processed::Applied(())) => add(&tally.applied),
        Ok(Processed::Duplicate) => add(&tally.duplicates),
        Ok(Processed::Busy) => {
            add(&tally.busy);
            return false;
        }
        Ok(other) => panic!("nobody said {other:?}"),
        Err(error) => return unlucky(&error, tally),
    }
    true
}

fn unlucky(error: &FixtureError, tally: &Tally) -> bool {
    assert_eq!(error.kind, FixtureErrorKind::Database, "{error}");
    add(&tally.conflicts);
    false
}

/// Lists that overlap, each consumer's in another order, and some of it handled before: each message is fresh once, and
/// nobody waits for ever for somebody who waits for him.
pub async fn four_with_lists_in_other_orders<F: InboxFixture>(fixture: Arc<F>) {
    const LENGTH: usize = 30;
    let count = setting("OUTBOX_INBOX_ROUNDS", 50).div_ceil(10);
    let rounds: Vec<Vec<MessageId>> = (0..count).map(|_| ids(LENGTH)).collect();
    for all in &rounds {
        super::work::handle_all(&*fixture, &[all[7], all[8], all[20]]).await;
    }
    let rounds = Arc::new(rounds);
    let all_there = Arc::new(Barrier::new(CONSUMERS));
    let (tally, started) = (Arc::new(Tally::default()), Instant::now());
    let mut consumers = tokio::task::JoinSet::new();
    for consumer in 0..CONSUMERS {
        let (fixture, rounds, tally) = (Arc::clone(&fixture), Arc::clone(&rounds), Arc::clone(&tally));
        let all_there = Arc::clone(&all_there);
        consumers.spawn(async move {
            for all in rounds.iter() {
                let mut list = all.clone();
                match consumer {
                    0 => {}
                    1 => list.reverse(),
                    2 => list.rotate_left(LENGTH / 2),
                    _ => list.sort_by_key(|id| id.as_bytes()[15]),
                }
                all_there.wait().await;
                let patience = Patience::new();
                while !list.is_empty() {
                    match fixture.admit_all(BILLING, &list, true).await {
                        Ok(admissions) => list = those_busy(&list, &admissions, &tally),
                        Err(error) => {
                            unlucky(&error, &tally);
                        }
                    }
                    patience.pause("messages that are busy for ever").await;
                }
            }
        });
    }
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    report("lists", count, started, &tally);
    assert_eq!(tally.applied.load(Ordering::Relaxed), count * (LENGTH - 3));
    let duplicates = count * (3 * CONSUMERS + (LENGTH - 3) * (CONSUMERS - 1));
    assert_eq!(tally.duplicates.load(Ordering::Relaxed), duplicates);
}

fn those_busy(list: &[MessageId], admissions: &[Admission], tally: &Tally) -> Vec<MessageId> {
    assert_eq!(list.len(), admissions.len());
    let mut busy = Vec::new();
    for (id, admission) in list.iter().zip(admissions) {
        match admission {
            Admission::Fresh => add(&tally.applied),
            Admission::Duplicate => add(&tally.duplicates),
            Admission::Busy => {
                add(&tally.busy);
                busy.push(*id);
            }
        }
    }
    busy
}

#[expect(clippy::print_stderr, reason = "the figures are for whoever runs it")]
fn report(what: &str, rounds: usize, started: Instant, tally: &Tally) {
    eprintln!(
        "{what}: {rounds} rounds of {CONSUMERS} in {:.1} s, {tally:?}",
        started.elapsed().as_secs_f64()
    );
}
