//! What is special about RabbitMQ: messages that come back, exchanges that vanish, queues that are full.

use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation};
use outbox_amqp::{AmqpTransport, decode};
use outbox_conformance::{Proxy, started};
use outbox_core::{OutboxMessage, PublishError, PublishErrorKind, Severity, Topic, Transport};
use tokio::time::Instant;

use crate::cases::{kinds, messages, port_of, with_a_queue};
use crate::fixture::{bind, client, delete, exchange, queue, read_queue, shared_url, unique};

/// Ten of three hundred, anywhere in the window.
fn with_strays(round: usize) -> Vec<OutboxMessage> {
    let mut all = messages("known.topic", 290);
    for (number, stray) in messages("nowhere", 10).into_iter().enumerate() {
        all.insert((number * 29 + round * 7) % all.len(), stray);
    }
    all
}

#[tokio::test]
async fn exactly_the_unroutable_ones_of_each_window_come_back() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let url = format!("{url}?exchange={name}&channels=1&max_in_flight=300&unroutable=reject");
        let amqp = AmqpTransport::connect(&url).await.unwrap();
        assert_eq!(amqp.capabilities().max_batch, 300);
        for round in 0..100 {
            let window = with_strays(round);
            let results = amqp.publish(&window).await;
            for (message, result) in window.iter().zip(&results) {
                let stray = message.topic().as_str() == "nowhere";
                let found = result.as_ref().err().map(PublishError::kind);
                let expected = stray.then_some(PublishErrorKind::Rejected);
                assert_eq!(found, expected, "round {round}: {} {result:?}", message.topic());
            }
        }
        let (_connection, channel) = client(&shared_url()).await.unwrap();
        let purged = channel.queue_purge(name.as_str().into(), lapin::options::QueuePurgeOptions::default());
        assert_eq!(purged.await.unwrap(), 29_000);
    })
    .await;
}

/// Why a window is settled as a whole. If this fails one day, the client says by itself which message came back.
#[tokio::test]
async fn one_confirmation_alone_says_nothing() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let (_connection, channel) = client(&url).await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let mut wrong = 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        while wrong == 0 && Instant::now() < deadline {
            let mut confirms = Vec::new();
            for message in with_strays(wrong) {
                let id = message.id().to_string();
                let properties = BasicProperties::default().with_message_id(id.as_str().into());
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let (exchange, topic) = (name.as_str().into(), message.topic().as_str().into());
                let confirm =
                    channel.basic_publish(exchange, topic, options, b"x", properties).await.unwrap();
                confirms.push((message, id, confirm));
            }
            let id_of = |message: &BasicReturnMessage| {
                message.delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned())
            };
            for (message, id, confirm) in confirms {
                let Confirmation::Ack(returned) = confirm.await.unwrap() else { panic!("not confirmed") };
                let stray = message.topic().as_str() == "nowhere";
                wrong += usize::from(stray != (returned.as_ref().and_then(id_of) == Some(id)));
            }
        }
        assert!(wrong > 0, "each confirmation had the right message");
    })
    .await;
}

#[tokio::test]
async fn an_exchange_that_vanishes_loses_nothing() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let amqp = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
        let (_connection, channel) = client(&url).await.unwrap();
        let all = messages("known.topic", 200);
        let deleting = async {
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        };
        let (results, ()) = tokio::join!(amqp.publish(&all), deleting);
        let known = |kind: &Option<PublishErrorKind>| {
            matches!(kind, None | Some(PublishErrorKind::Unknown | PublishErrorKind::Retryable))
        };
        assert!(kinds(&results).iter().all(known), "{results:?}");
        amqp.reset().await;
        let mut gone = amqp.publish(&messages("known.topic", 1)).await;
        if kinds(&gone) == [Some(PublishErrorKind::Unknown)] {
            // Everything was confirmed before the exchange went: the channel finds out now, and the next one knows.
            amqp.reset().await;
            gone = amqp.publish(&messages("known.topic", 1)).await;
        }
        assert_eq!(kinds(&gone), [Some(PublishErrorKind::Retryable)], "{gone:?}");
        assert!(gone[0].as_ref().unwrap_err().to_string().contains("there is no exchange"), "{gone:?}");
        let found = amqp.diagnose(&[]).await;
        assert!(found.iter().any(|finding| finding.severity == Severity::Error), "{found:?}");

        exchange(&channel, &name).await;
        bind(&channel, &name, &name, "known.#").await;
        for (message, result) in all.iter().zip(&results) {
            if result.is_err() {
                assert_eq!(kinds(&amqp.publish(std::slice::from_ref(message)).await), [None]);
            }
        }
        let mut ids: Vec<String> =
            read_queue(&url, &name).await.into_iter().map(|(_, found)| found.id).collect();
        let copies = ids.len() - all.len();
        assert!(copies <= results.iter().filter(|result| result.is_err()).count());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_is_retried() {
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(3));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    with_a_queue(full, async |url, name| {
        let amqp = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
        for message in messages("known.topic", 3) {
            assert_eq!(kinds(&amqp.publish(&[message]).await), [None]);
        }
        let refused = amqp.publish(&messages("known.topic", 1)).await;
        assert_eq!(kinds(&refused), [Some(PublishErrorKind::Retryable)], "{refused:?}");
        assert!(refused[0].as_ref().unwrap_err().to_string().contains("full"), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_declared_if_asked_for_and_what_exists_is_left_alone() {
    let (url, name) = (shared_url(), unique());
    let Some((_connection, channel)) = started("RabbitMQ", client(&url).await) else { return };
    let (own, other) = (format!("{name}.a"), format!("{name}.b"));
    // Not what would be declared: the other one is a quorum queue.
    queue(&channel, &other, FieldTable::default()).await;
    let topics = [&own, &other].map(|topic| Topic::new(topic).unwrap());
    let without = AmqpTransport::connect(&url).await.unwrap();
    let missing = without.publish(&messages(&own, 1)).await;
    assert_eq!(kinds(&missing), [Some(PublishErrorKind::Retryable)], "{missing:?}");
    let severities = async |amqp: &AmqpTransport| -> Vec<Severity> {
        let found = amqp.diagnose(&topics).await;
        found
            .iter()
            .filter(|finding| finding.subject.starts_with("topic"))
            .map(|finding| finding.severity)
            .collect()
    };
    assert_eq!(severities(&without).await, [Severity::Error, Severity::Ok]);
    let with = AmqpTransport::connect(&format!("{url}?create=true")).await.unwrap();
    let batch = [messages(&own, 2), messages(&other, 2)].concat();
    assert_eq!(kinds(&with.publish(&batch).await), [None; 4]);
    assert_eq!(severities(&with).await, [Severity::Ok, Severity::Ok]);
    assert_eq!(read_queue(&url, &own).await.len(), 2);

    let exchange = AmqpTransport::connect(&format!("{url}?exchange={name}&create=true")).await.unwrap();
    exchange.check().await.unwrap();
    let again = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
    again.check().await.unwrap();
    delete(&url, &[&name], &[&own, &other]).await;
}

#[tokio::test]
async fn a_confirmation_that_was_cut_is_unknown_and_costs_one_copy_at_most() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let proxy = Proxy::to(port_of(&url)).await;
        let url_of_proxy = format!("amqp://guest:guest@127.0.0.1:{}/%2f?exchange={name}", proxy.port());
        let amqp = AmqpTransport::connect(&url_of_proxy).await.unwrap();
        for round in 1..=3 {
            let batch = messages("known.topic", 20);
            proxy.cut_answers(true);
            let results = amqp.publish(&batch).await;
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 20], "round {round}: {results:?}");
            amqp.reset().await;
            proxy.cut_answers(false);
            assert_eq!(kinds(&amqp.publish(&batch).await), [None; 20]);
            let stored = read_queue(&url, &name).await.len();
            assert!((20 * round..=40 * round).contains(&stored), "{stored} in round {round}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_consumer_decodes_what_was_published() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let message = OutboxMessage::json("known.orders", &["x"])
            .unwrap()
            .ordering_key("order-7")
            .event_type("OrderPlaced")
            .header("tenant", " acme ")
            .build()
            .unwrap();
        let amqp = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
        assert_eq!(kinds(&amqp.publish(std::slice::from_ref(&message)).await), [None]);
        let (_connection, channel) = client(&url).await.unwrap();
        let got = channel.basic_get(name.as_str().into(), lapin::options::BasicGetOptions::default());
        let delivery = got.await.unwrap().unwrap().delivery;
        let decoded = decode(delivery.routing_key.as_str(), &delivery.properties, delivery.data).unwrap();
        assert_eq!(decoded, message);
    })
    .await;
}
