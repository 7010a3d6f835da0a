use std::future::Future;
use std::time::Duration;

use outbox_core::{OutboxMessage, PublishError, PublishErrorKind, Transport, TransportCapabilities};
use outbox_memory::{MemoryTransport, Verdict};
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(10);

fn message(key: &str) -> OutboxMessage {
    OutboxMessage::bytes("t", "x").unwrap().ordering_key(key).build().unwrap()
}

fn kinds(results: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(PublishError::kind)).collect()
}

/// Polls once: the call has begun and waits.
async fn begun<F: Future>(call: std::pin::Pin<&mut F>) {
    let mut call = call;
    std::future::poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn a_script_decides_by_message_and_try() {
    let batch = [message("a"), message("b"), message("c")];
    let (refused, lost) = (*batch[0].id(), *batch[1].id());
    let broker = MemoryTransport::new().with_behaviour(move |message, tries| match *message.id() {
        id if id == refused && tries < 3 => Verdict::Fail(PublishErrorKind::Retryable),
        id if id == lost && tries == 1 => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
        _ => Verdict::Accept,
    });
    let first = broker.publish(&batch).await;
    assert_eq!(kinds(&first), [Some(PublishErrorKind::Retryable), Some(PublishErrorKind::Unknown), None]);
    assert_eq!(broker.delivered(), batch[1..], "a lost confirmation is a delivery");
    assert_eq!(kinds(&broker.publish(&batch[..2]).await), [Some(PublishErrorKind::Retryable), None]);
    assert_eq!(kinds(&broker.publish(&batch[..1]).await), [None]);
    assert_eq!(broker.delivered().len(), 4);
    assert_eq!((broker.publishes(), broker.resets()), (3, 0));
    broker.reset().await;
    assert_eq!(broker.resets(), 1);
}

#[tokio::test]
async fn nothing_of_a_key_is_accepted_behind_a_failure() {
    let batch = [message("a"), message("b"), message("a"), message("a"), message("b")];
    let first = *batch[0].id();
    let fail = move |message: &OutboxMessage, _| {
        if *message.id() == first { Verdict::Fail(PublishErrorKind::Rejected) } else { Verdict::Accept }
    };
    let broker = MemoryTransport::new().with_behaviour(fail);
    let results = kinds(&broker.publish(&batch).await);
    let not_sent = Some(PublishErrorKind::Retryable);
    assert_eq!(results, [Some(PublishErrorKind::Rejected), None, not_sent, not_sent, None]);
    assert_eq!(broker.delivered(), [batch[1].clone(), batch[4].clone()]);

    let unordered = MemoryTransport::new().with_capabilities(TransportCapabilities::new("memory"));
    let unordered = unordered.with_behaviour(fail);
    let results = kinds(&unordered.publish(&batch).await);
    assert_eq!(results, [Some(PublishErrorKind::Rejected), None, None, None, None], "without the promise");
    assert_eq!(
        unordered.violations().len(),
        3,
        "the caller may not rely on it: {:?}",
        unordered.violations()
    );
}

#[tokio::test]
async fn down_is_unavailable_until_up() {
    let broker = MemoryTransport::new();
    broker.down();
    let unavailable = Some(PublishErrorKind::Unavailable);
    assert_eq!(kinds(&broker.publish(&[message("a"), message("b")]).await), [unavailable, unavailable]);
    assert_eq!(broker.check().await.unwrap_err().kind(), PublishErrorKind::Unavailable);
    assert!(broker.delivered().is_empty());
    broker.up();
    broker.check().await.unwrap();
    assert_eq!(kinds(&broker.publish(&[message("a")]).await), [None]);
}

#[tokio::test(start_paused = true)]
async fn latency_is_waited_for() {
    let broker = MemoryTransport::new();
    broker.set_latency(Duration::from_secs(3));
    let before = Instant::now();
    broker.publish(&[message("a"), message("b")]).await;
    assert_eq!(before.elapsed(), Duration::from_secs(3), "once per call");
}

#[tokio::test]
async fn a_caller_that_breaks_the_contract_is_noted() {
    let capabilities =
        TransportCapabilities::new("memory").pipelined_order(true).max_batch(2).max_in_flight(3);
    let broker = MemoryTransport::new().with_capabilities(capabilities).with_behaviour(|_, _| Verdict::Hang);
    let first_batch = [message("a"), message("b")];
    let mut first = std::pin::pin!(broker.publish(&first_batch));
    begun(first.as_mut()).await;
    assert!(broker.violations().is_empty());
    {
        let second_batch = [message("b")];
        let mut second = std::pin::pin!(broker.publish(&second_batch));
        begun(second.as_mut()).await;
        assert_eq!(broker.violations(), [r#"key "b" is in two calls at once"#]);
    }
    let third_batch = [message("c"), message("d"), message("e")];
    let mut third = std::pin::pin!(broker.publish(&third_batch));
    begun(third.as_mut()).await;
    assert_eq!(broker.violations()[1..], ["a batch of 3", "5 messages in flight"]);
}

#[tokio::test]
async fn waiting_ends_with_the_last_delivery() {
    let broker = MemoryTransport::new();
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { broker.wait_for(3).await.len() }
    });
    broker.publish(&[message("a"), message("b")]).await;
    assert!(timeout(Duration::from_millis(20), broker.wait_for(3)).await.is_err());
    broker.publish(&[message("c")]).await;
    assert_eq!(timeout(LIMIT, waiting).await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn subscribers_get_what_is_published_while_they_listen() {
    let broker = MemoryTransport::unrecorded();
    let batch = [message("a"), message("b"), message("c")];
    broker.publish(&batch[..1]).await;
    let mut one = broker.subscribe(8);
    let mut other = broker.subscribe(8);
    broker.publish(&batch[1..]).await;
    for subscriber in [&mut one, &mut other] {
        assert_eq!(timeout(LIMIT, subscriber.recv()).await.unwrap().unwrap(), batch[1]);
        assert_eq!(timeout(LIMIT, subscriber.recv()).await.unwrap().unwrap(), batch[2]);
    }
    assert!(broker.delivered().is_empty(), "nothing is kept");
    drop(other);
    assert_eq!(kinds(&broker.publish(&batch[..1]).await), [None], "one that left holds nobody up");
    broker.close(LIMIT).await.unwrap();
    assert_eq!(one.recv().await.unwrap(), batch[0]);
    assert_eq!(one.recv().await, None, "the end");
    assert_eq!(kinds(&broker.publish(&batch[..1]).await), [Some(PublishErrorKind::Unavailable)]);
}

#[tokio::test]
async fn a_slow_subscriber_slows_the_publisher() {
    let broker = MemoryTransport::new();
    let mut slow = broker.subscribe(1);
    let mut free = broker.subscribe(8);
    broker.publish(&[message("a")]).await;
    let waiting_batch = [message("b")];
    {
        let mut waiting = std::pin::pin!(broker.publish(&waiting_batch));
        begun(waiting.as_mut()).await;
    }
    assert_eq!(
        broker.delivered().len(),
        1,
        "a call that was dropped while it waited gave the message to nobody"
    );
    assert!(free.recv().await.is_some() && free.try_recv().is_err());
    slow.recv().await.unwrap();
    assert_eq!(kinds(&broker.publish(&waiting_batch).await), [None]);
}
