//! A group that has settled everything.

use std::time::Duration;

use outbox_core::{OutboxMessage, SubscribeOptions, Subscription, Topic, Transport};
use outbox_memory::MemoryTransport;
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn a_group_is_drained_when_everything_is_settled() {
    let transport = MemoryTransport::new();
    transport.drained("nobody").await;
    let options = SubscribeOptions::new("billing", [Topic::new("orders").unwrap()]);
    let mut member = transport.subscription(options).unwrap();
    let message = || OutboxMessage::bytes("orders", "x").unwrap().build().unwrap();
    for published in transport.publish(&[message(), message(), message()]).await {
        published.unwrap();
    }
    let is_open = async || timeout(Duration::ZERO, transport.drained("billing")).await.is_err();
    member.next().await.unwrap().ack().await.unwrap();
    member.next().await.unwrap().dead_letter("no").await.unwrap();
    member.next().await.unwrap().nack(Duration::from_secs(60)).await.unwrap();
    assert!(is_open().await, "one comes again");
    let last = member.next().await.unwrap();
    assert!(is_open().await, "it is in the hands of the member");
    last.ack().await.unwrap();
    transport.drained("billing").await;
}
