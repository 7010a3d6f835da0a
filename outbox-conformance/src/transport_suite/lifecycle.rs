//! Checking, closing, and what a transport says of itself.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishError};

use super::TransportFixture;
use super::publishing::{all_confirmed, batches, is_outage, text, texts};
use crate::offered;

/// A broker that takes messages passes, as often as it is asked, and nothing is published by it.
pub async fn a_healthy_broker_passes_the_check<F: TransportFixture>(fixture: Arc<F>) {
    for _ in 0..3 {
        fixture.transport().check().await.unwrap();
    }
    assert!(fixture.read_back(&fixture.topic("checked")).await.is_empty());
}

/// A call that runs when the transport is closed ends as it would have, within the time that was given.
pub async fn close_waits_for_what_is_under_way<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("closing"));
    transport.check().await.unwrap();
    let messages = texts(&topic, transport.capabilities().max_batch);
    let batch = batches(&*transport, &messages).remove(0);
    let (results, closed) = tokio::join!(transport.publish(&batch), transport.close(Duration::from_secs(20)));
    closed.unwrap();
    all_confirmed(&results, batch.len());
    assert_eq!(fixture.read_back(&topic).await.len(), batch.len());
}

/// After closing, a message is an error that costs no attempt; so is a check; and closing again is none.
pub async fn nothing_is_published_after_close<F: TransportFixture>(fixture: Arc<F>) {
    let (transport, topic) = (fixture.transport(), fixture.topic("closed"));
    let before = text(&topic, "before");
    all_confirmed(&transport.publish(std::slice::from_ref(&before)).await, 1);
    transport.close(Duration::from_secs(20)).await.unwrap();
    let results = transport.publish(&texts(&topic, 3)).await;
    assert_eq!(results.len(), 3);
    assert!(results.iter().all(is_outage), "{results:?}");
    assert!(transport.check().await.is_err());
    transport.reset().await;
    transport.close(Duration::from_secs(20)).await.unwrap();
    let found = fixture.read_back(&topic).await;
    assert_eq!(found.iter().map(|received| &received.id).collect::<Vec<_>>(), [&before.id().to_string()]);
}

/// No password in any text: not in `Debug`, not in an error, not in what caused it.
pub async fn secrets_are_never_shown<F: TransportFixture>(_fixture: Arc<F>) {
    const CANARY: &str = "c4nary-0f-the-mine";
    let Some((transport, mut texts)) = offered("password", F::with_secret(CANARY)) else {
        return;
    };
    let message: OutboxMessage = text("secrets", "x");
    let mut results = transport.publish(&[message]).await;
    results.push(transport.check().await);
    results.push(transport.close(Duration::from_secs(1)).await);
    texts.extend(results.iter().filter_map(|result| result.as_ref().err()).flat_map(everything));
    assert!(texts.len() > 2, "an address where nobody answers has to be an error");
    for text in texts {
        assert!(!text.contains(CANARY), "{text}");
    }
}

fn everything(error: &PublishError) -> Vec<String> {
    let mut texts = vec![format!("{error:?} {error:#?}")];
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        texts.push(format!("{error} {error:?}"));
        next = error.source();
    }
    texts
}
