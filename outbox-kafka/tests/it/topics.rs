//! What is special about Kafka and needs a broker: topics that are created and examined, and partitions that are shared.

use std::collections::BTreeSet;
use std::time::Duration;

use outbox_conformance::started;
use outbox_core::{OutboxMessage, PublishErrorKind, Severity, Topic, Transport};
use outbox_kafka::KafkaTransport;
use tokio::time::timeout;

use crate::fixture::{create_topic, delete_topics, is_running, read_topic, shared_servers, unique};

/// A name for topics on the shared broker.
async fn on_the_broker<Fut: Future<Output = ()>>(case: impl FnOnce(String, String) -> Fut) {
    let servers = shared_servers();
    let running = is_running(&servers).await.then_some(());
    if started("Kafka", running).is_some() {
        let limit = Duration::from_secs(60);
        timeout(limit, case(servers, unique())).await.expect("the case did not end in a minute");
    }
}

fn keyed(topic: &str, keys: usize, count: usize) -> Vec<OutboxMessage> {
    let message =
        |n| OutboxMessage::bytes(topic, format!("{n}")).unwrap().ordering_key(n % keys).build().unwrap();
    (0..count).map(message).collect()
}

#[tokio::test]
async fn a_missing_topic_is_created_if_that_was_asked_for() {
    on_the_broker(async |servers, topic| {
        let plain = KafkaTransport::connect(&format!("kafka://{servers}")).await.unwrap();
        let error = plain.publish(&keyed(&topic, 1, 1)).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Retryable);
        let text = format!("there is no Kafka topic \"{topic}\": create it, or let create=true do so");
        assert_eq!(error.to_string(), text);
        let url = format!("kafka://{servers}?create=true&partitions=4");
        let creating = KafkaTransport::connect(&url).await.unwrap();
        for _ in 0..2 {
            assert!(creating.publish(&keyed(&topic, 40, 40)).await.iter().all(Result::is_ok));
        }
        let found = read_topic(&servers, &topic).await;
        let partitions: BTreeSet<i32> = found.iter().map(rdkafka::Message::partition).collect();
        assert_eq!((found.len(), partitions), (80, (0..4).collect()));
        delete_topics(&servers, &[&topic]).await;
    })
    .await;
}

#[tokio::test]
async fn a_diagnosis_names_what_is_missing_and_what_loses_messages() {
    on_the_broker(async |servers, topic| {
        create_topic(&servers, &topic, 1).await;
        let kafka = KafkaTransport::connect(&format!("kafka://{servers}")).await.unwrap();
        let topics = [topic.clone(), format!("{topic}.gone"), "orders/placed".to_owned()];
        let topics: Vec<Topic> = topics.iter().map(|name| Topic::new(name).unwrap()).collect();
        let findings = kafka.diagnose(&topics).await;
        let about = |subject: &str| -> Vec<(Severity, String)> {
            let of = findings.iter().filter(|finding| finding.subject == subject);
            of.map(|finding| (finding.severity, finding.detail.clone())).collect()
        };
        assert_eq!(about("kafka"), [(Severity::Ok, "reachable".to_owned())]);
        let single = about(&format!("topic {topic}"));
        assert_eq!(single[0], (Severity::Ok, "1 partition(s), 1 copy".to_owned()));
        assert!(
            single
                .iter()
                .any(|(severity, text)| *severity == Severity::Warning && text.contains("single copy"))
        );
        assert_eq!(about(&format!("topic {topic}.gone")), [(Severity::Error, "does not exist".to_owned())]);
        assert_eq!(about("topic orders/placed")[0].0, Severity::Error);
        assert!(
            findings.iter().all(|finding| (finding.severity == Severity::Ok) == finding.remedy.is_none())
        );
        // Nothing was created by looking.
        let error = kafka.publish(&keyed(&format!("{topic}.gone"), 1, 1)).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Retryable);
        delete_topics(&servers, &[&topic]).await;
        let nowhere = KafkaTransport::new("kafka://127.0.0.1:1?connect_timeout=1s".parse().unwrap()).unwrap();
        let findings = nowhere.diagnose(&topics).await;
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Error));
    })
    .await;
}

#[cfg(feature = "subscription")]
#[tokio::test]
async fn a_missing_topic_is_created_although_calls_of_next_end_early_and_another_topic_is_read() {
    use futures_util::FutureExt as _;
    use outbox_core::Subscription as _;
    use outbox_kafka::KafkaSubscription;

    on_the_broker(async |servers, topic| {
        let missing = format!("{topic}.missing");
        create_topic(&servers, &topic, 1).await;
        let kafka = KafkaTransport::connect(&format!("kafka://{servers}?batch_bytes=1")).await.unwrap();
        assert!(kafka.publish(&keyed(&topic, 1, 1)).await.iter().all(Result::is_ok));
        let url = format!("kafka://{servers}?group={topic}&topics={topic},{missing}&create=true");
        let mut reader = KafkaSubscription::new(url.parse().unwrap()).unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        // No call gets as far as to create anything, until the message of the topic that is there has come.
        let first = loop {
            match reader.next().now_or_never() {
                Some(delivery) => break delivery.unwrap(),
                None => drop(tick.tick().await),
            }
        };
        first.ack().await.unwrap();
        let publish = async {
            while !kafka.publish(&keyed(&missing, 1, 1)).await.iter().all(Result::is_ok) {
                tick.tick().await;
            }
        };
        let (second, ()) = tokio::join!(reader.next(), publish);
        let second = second.unwrap();
        assert_eq!(second.message().unwrap().topic().as_str(), missing);
        second.ack().await.unwrap();
        // Before the topics go: librdkafka dies of what tansu says to a member that reads a deleted topic.
        reader.close(Duration::from_secs(20)).await.unwrap();
        delete_topics(&servers, &[&topic, &missing]).await;
    })
    .await;
}

#[cfg(feature = "subscription")]
#[tokio::test]
async fn members_share_partitions_and_each_key_keeps_its_order() {
    use std::collections::BTreeMap;

    use outbox_core::Subscription as _;
    use outbox_kafka::KafkaSubscription;

    on_the_broker(async |servers, topic| {
        create_topic(&servers, &topic, 3).await;
        let url = format!("kafka://{servers}?group={topic}&topics={topic}");
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let (done, _) = tokio::sync::watch::channel(());
        let mut tasks = Vec::new();
        for member in 0..3 {
            let (mut reader, report) = (KafkaSubscription::connect(&url).await.unwrap(), report.clone());
            let mut done = done.subscribe();
            tasks.push(tokio::spawn(async move {
                loop {
                    let delivery = tokio::select! {
                        delivery = reader.next() => delivery.unwrap(),
                        _ = done.changed() => break,
                    };
                    let message = delivery.message().unwrap().clone();
                    if delivery.ack().await.is_ok() {
                        report.send((member, message)).unwrap();
                    }
                }
                reader.close(Duration::from_secs(20)).await.unwrap();
            }));
        }
        let kafka = KafkaTransport::connect(&format!("kafka://{servers}?batch_bytes=1")).await.unwrap();
        let (mut seen, mut by_member) = (BTreeMap::<String, i32>::new(), BTreeSet::new());
        let mut round = 0;
        // Until the partitions are shared out, which takes the group a moment.
        while by_member.len() < 3 {
            round += 1;
            let batch: Vec<OutboxMessage> = (0..30)
                .map(|key| {
                    let message = OutboxMessage::bytes(&topic, format!("{round}")).unwrap();
                    message.ordering_key(key).build().unwrap()
                })
                .collect();
            assert!(kafka.publish(&batch).await.iter().all(Result::is_ok));
            let mut missing: BTreeSet<String> =
                batch.iter().map(|message| message.id().to_string()).collect();
            while !missing.is_empty() {
                let (member, message) = reports.recv().await.unwrap();
                by_member.insert(member);
                missing.remove(&message.id().to_string());
                let number: i32 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
                let last = seen.insert(message.ordering_key().unwrap().to_string(), number).unwrap_or(0);
                // A message may come twice, to the next owner of its partition; it never comes before an earlier one.
                assert!(number == last || number == last + 1, "{number} after {last}");
            }
        }
        // Before the topic goes: librdkafka dies of what tansu says to a member that reads a deleted topic.
        done.send_replace(());
        for task in tasks {
            task.await.unwrap();
        }
        delete_topics(&servers, &[&topic]).await;
    })
    .await;
}
