//! What a subscription does while its broker is dead, or coming back. Each case has a broker of its own.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::SubscribeErrorKind;
use tokio::time::timeout;

use super::SubscriptionFixture;
use super::receiving::{PATIENCE, member, messages, next, take, take_all};

/// The same subscription goes on after a restart, without anybody's help, and nothing is lost.
pub async fn receiving_resumes_after_a_restart<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "back").await;
    let broker = fixture.broker().unwrap();
    for _ in 0..3 {
        let before = messages(&*fixture, 10);
        fixture.publish(&before).await;
        take(&mut *reader, 3).await;
        broker.kill().await;
        broker.start().await;
        let after = messages(&*fixture, 5);
        fixture.publish(&after).await;
        take_all(&mut *reader, &after).await;
    }
    reader.close(Duration::from_secs(20)).await.unwrap();
}

/// While the broker is dead, `next` and `check` say so instead of being silent.
pub async fn a_dead_broker_is_an_error_and_no_silence<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "dead").await;
    fixture.publish(&messages(&*fixture, 1)).await;
    take(&mut *reader, 1).await;
    fixture.broker().unwrap().kill().await;
    let error = timeout(PATIENCE, reader.next()).await.expect("it is silent").unwrap_err();
    assert_eq!(error.kind(), SubscribeErrorKind::Unavailable, "{error}");
    let error = timeout(PATIENCE, reader.check()).await.expect("it is silent").unwrap_err();
    assert_eq!(error.kind(), SubscribeErrorKind::Unavailable, "{error}");
    let _ = timeout(PATIENCE, reader.close(Duration::from_secs(2))).await.expect("closing hangs");
}

/// A receipt from before a restart settles its message or is an error, in time, and nothing is lost by it.
pub async fn a_receipt_from_before_a_restart_is_harmless<F: SubscriptionFixture>(fixture: Arc<F>) {
    let mut reader = member(&*fixture, "receipt").await;
    let broker = fixture.broker().unwrap();
    let sent = messages(&*fixture, 3);
    fixture.publish(&sent).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut *reader).await);
    }
    broker.kill().await;
    broker.start().await;
    let settling = async {
        let mut left = Vec::new();
        for (delivery, message) in held.drain(..).zip(&sent) {
            if delivery.ack().await.is_err() {
                left.push(message.clone());
            }
        }
        left
    };
    let left = timeout(PATIENCE, settling).await.expect("a receipt hangs");
    let after = messages(&*fixture, 2);
    fixture.publish(&after).await;
    take_all(&mut *reader, &[left, after].concat()).await;
    reader.close(Duration::from_secs(20)).await.unwrap();
}
