//! Groups and their members.

use std::sync::Arc;

use outbox_core::OutboxMessage;
use tokio::sync::mpsc;

use super::SubscriptionFixture;
use super::receiving::{close, ids, member, message, messages, next, silent, sorted, take, take_all};
use crate::offered;

/// Each group gets every message.
pub async fn every_group_gets_every_message<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut first = member(&*fixture, "one").await;
    if offered("groups that each get everything", first.capabilities().fan_out.then_some(())).is_none() {
        close(first).await;
        return;
    }
    let mut second = member(&*fixture, "two").await;
    let sent = messages(&*fixture, 20);
    fixture.publish(&sent).await;
    for reader in [&mut first, &mut second] {
        assert_eq!(sorted(ids(&take(&mut **reader, sent.len()).await)), sorted(ids(&sent)));
        silent(&mut **reader).await;
    }
    close(first).await;
    close(second).await;
}

/// The members of a group share the messages: each message goes to one of them, and none is left over.
pub async fn members_share_the_messages<F: SubscriptionFixture>(fixture: Arc<F>) {
    let (report, mut reports) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let mut reader = member(&*fixture, "shared").await;
        let report = report.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                let delivery = next(&mut *reader).await;
                let id = delivery.message().unwrap().id().to_string();
                if delivery.ack().await.is_ok() && report.send(id).is_err() {
                    return;
                }
            }
        }));
    }
    let sent: Vec<OutboxMessage> =
        (0..200).map(|n| message(&*fixture, "x").ordering_key(n % 40).build().unwrap()).collect();
    for round in sent.chunks(40) {
        fixture.publish(round).await;
    }
    let mut missing = ids(&sent);
    let all = async {
        while !missing.is_empty() {
            let id = reports.recv().await.unwrap();
            missing.retain(|other| *other != id);
        }
    };
    tokio::time::timeout(super::receiving::PATIENCE, all).await.expect("messages are left over");
    for task in tasks {
        task.abort();
    }
}

/// A member that leaves hands over what it had not settled, and the others go on.
pub async fn a_member_that_leaves_hands_over<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut first = member(&*fixture, "handover").await;
    let sent = messages(&*fixture, 30);
    fixture.publish(&sent).await;
    let done = take(&mut *first, 10).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next(&mut *first).await);
    }
    let mut second = member(&*fixture, "handover").await;
    drop(held);
    close(first).await;
    let left: Vec<OutboxMessage> =
        sent.iter().filter(|message| !ids(&done).contains(&message.id().to_string())).cloned().collect();
    take_all(&mut *second, &left).await;
    close(second).await;
}
