//! A message that the broker closes the channel for is the only one that pays for it.

use std::collections::HashMap;

use lapin::options::QueueDeleteOptions;
use lapin::types::FieldTable;
use outbox_amqp::AmqpTransport;
use outbox_conformance::started;
use outbox_core::{OutboxMessage, PublishErrorKind, Transport};

use crate::cases::{ctl, kinds, messages, on_a_node, with_a_queue};
use crate::fixture::{bind, client, delete, exchange, queue, read_queue, shared_url, unique, url_of};

async fn copies(url: &str, queue: &str) -> HashMap<String, usize> {
    let mut copies = HashMap::new();
    for (_, found) in read_queue(url, queue).await {
        *copies.entry(found.id).or_default() += 1;
    }
    copies
}

#[tokio::test]
async fn a_message_over_the_limit_of_the_broker_is_rejected_alone() {
    on_a_node("max_message_size = 65536\n", async |_server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        queue(&channel, "t", FieldTable::default()).await;
        let amqp = AmqpTransport::connect(&format!("{url}?channels=1&max_in_flight=60")).await.unwrap();
        let large = || OutboxMessage::bytes("t", vec![0; 100_000]).unwrap().build().unwrap();
        let mut expected = Vec::new();
        for round in 0..20 {
            let mut window = messages("t", 56);
            for number in 0..=round % 3 {
                window.insert((round * 7 + number * 19) % window.len(), large());
            }
            let results = amqp.publish(&window).await;
            for (message, result) in window.iter().zip(&results) {
                let kind = result.as_ref().err().map(|error| error.kind());
                let too_large = message.payload().len() > 65_536;
                assert_eq!(
                    kind,
                    too_large.then_some(PublishErrorKind::Rejected),
                    "round {round}: {result:?}"
                );
                if let Err(error) = result {
                    assert!(error.to_string().contains("too large"), "{error}");
                } else {
                    expected.push(message.id().to_string());
                }
            }
        }
        let alone = amqp.publish(&[large()]).await;
        assert_eq!(kinds(&alone), [Some(PublishErrorKind::Rejected)], "{alone:?}");
        let copies = copies(&url, "t").await;
        assert_eq!(copies.len(), expected.len());
        for id in expected {
            let count = copies.get(&id).copied().unwrap_or_default();
            assert!((1..=2).contains(&count), "{count} copies of {id}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_this_user_may_not_write_to_is_retried_alone() {
    on_a_node("", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        exchange(&channel, "events").await;
        queue(&channel, "all", FieldTable::default()).await;
        bind(&channel, "all", "events", "#").await;
        ctl(&server, &["add_user", "app", "pw"]).await;
        // Not to the default exchange either.
        ctl(&server, &["set_permissions", "app", "", "^events$", "^events$"]).await;
        ctl(&server, &["set_topic_permissions", "app", "events", r"^known\.", ".*"]).await;
        let url_of_app = url_of(&server).replace("guest:guest", "app:pw");
        let amqp = AmqpTransport::connect(&format!("{url_of_app}?exchange=events")).await.unwrap();
        amqp.check().await.unwrap();
        let mut window = messages("known.topic", 40);
        window.insert(13, messages("secret.topic", 1).remove(0));
        window.insert(33, messages("secret.topic", 1).remove(0));
        let results = amqp.publish(&window).await;
        for (message, result) in window.iter().zip(&results) {
            let secret = message.topic().as_str() == "secret.topic";
            let kind = result.as_ref().err().map(|error| error.kind());
            assert_eq!(kind, secret.then_some(PublishErrorKind::Retryable), "{result:?}");
        }
        assert!(results[13].as_ref().unwrap_err().to_string().contains("may not publish"), "{results:?}");
        let copies = copies(&url, "all").await;
        assert_eq!(copies.len(), 40);
        assert!(copies.values().all(|count| *count <= 2), "{copies:?}");
        ctl(&server, &["set_topic_permissions", "app", "events", ".*", ".*"]).await;
        assert_eq!(kinds(&amqp.publish(&[window.remove(33), window.remove(13)]).await), [None, None]);
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_may_not_be_declared_harms_no_other() {
    let (url, own) = (shared_url(), unique());
    let Some((_connection, _channel)) = started("RabbitMQ", client(&url).await) else { return };
    let amqp = AmqpTransport::connect(&format!("{url}?create=true")).await.unwrap();
    let window = [messages(&own, 2), messages("amq.reserved", 1), messages(&own, 2)].concat();
    let results = amqp.publish(&window).await;
    let expected = [None, None, Some(PublishErrorKind::Retryable), None, None];
    assert_eq!(kinds(&results), expected, "{results:?}");
    delete(&url, &[], &[&own]).await;
}

/// RabbitMQ would send copies to the queues that these headers name, and closes the channel if they are text.
#[tokio::test]
async fn a_header_that_routes_is_rejected_alone() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let amqp = AmqpTransport::connect(&format!("{url}?exchange={name}")).await.unwrap();
        let mut window = messages("known.topic", 4);
        for (number, header) in [(1, "CC"), (3, "BCC")] {
            let message = OutboxMessage::bytes("known.topic", "x").unwrap().header(header, "other");
            window.insert(number, message.build().unwrap());
        }
        let results = amqp.publish(&window).await;
        let rejected = Some(PublishErrorKind::Rejected);
        assert_eq!(kinds(&results), [None, rejected, None, rejected, None, None], "{results:?}");
        assert!(results[1].as_ref().unwrap_err().to_string().contains("\"CC\""), "{results:?}");
        assert_eq!(read_queue(&url, &name).await.len(), 4, "each once");
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_declared_again() {
    let (url, own) = (shared_url(), unique());
    let Some((_connection, channel)) = started("RabbitMQ", client(&url).await) else { return };
    for unroutable in ["retry", "reject"] {
        let parameters = format!("create=true&queue_type=classic&unroutable={unroutable}");
        let amqp = AmqpTransport::connect(&format!("{url}?{parameters}")).await.unwrap();
        let message = messages(&own, 1);
        assert_eq!(kinds(&amqp.publish(&message).await), [None]);
        channel.queue_delete(own.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        let returned = amqp.publish(&message).await;
        assert_eq!(kinds(&returned), [Some(PublishErrorKind::Retryable)], "{unroutable}: {returned:?}");
        assert_eq!(kinds(&amqp.publish(&message).await), [None], "{unroutable}: it is there again");
        assert_eq!(read_queue(&url, &own).await.len(), 1);
    }
    delete(&url, &[], &[&own]).await;
}
