//! Errors that no healthy broker shows on demand, injected by librdkafka's own mock cluster.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use outbox_core::{OrderingKey, OutboxMessage, PublishError, PublishErrorKind, Subscription as _, Transport};
use outbox_kafka::{KafkaSubscription, KafkaTransport};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Err};
use rdkafka::{Message as _, TopicPartitionList};

use crate::fixture::{client_config, read_topic};

const TOPIC: &str = "orders";

/// A cluster of one broker with the topic, three partitions.
struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        Self { cluster }
    }

    async fn fresh(&self, parameters: &str) -> KafkaTransport {
        let url = format!("kafka://{}?{parameters}", self.cluster.bootstrap_servers());
        KafkaTransport::connect(&url).await.unwrap()
    }

    async fn transport(&self, parameters: &str) -> KafkaTransport {
        let transport = self.fresh(parameters).await;
        // All partitions know the producer: what is injected meets records that are under way together.
        let everywhere: Vec<OutboxMessage> =
            (0..30).map(|n| message(TOPIC, &format!("warm {n}"), n)).collect();
        confirmed(&transport.publish(&everywhere).await);
        transport
    }

    fn fail(&self, errors: &[Err]) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    }

    async fn holds(&self, key: &str) -> Vec<String> {
        payloads(&self.cluster.bootstrap_servers(), TOPIC, key).await
    }
}

/// What a topic has of a key, in its order.
async fn payloads(servers: &str, topic: &str, key: &str) -> Vec<String> {
    let found = read_topic(servers, topic).await;
    let of_key = found.iter().filter(|message| message.key() == Some(key.as_bytes()));
    of_key.map(|message| String::from_utf8(message.payload().unwrap().to_vec()).unwrap()).collect()
}

fn keyed(key: &str, count: usize) -> Vec<OutboxMessage> {
    (0..count).map(|n| message(TOPIC, key, n)).collect()
}

fn message(topic: &str, key: &str, n: usize) -> OutboxMessage {
    OutboxMessage::bytes(topic, format!("{n}")).unwrap().ordering_key(key).build().unwrap()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn kinds(results: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(PublishError::kind)).collect()
}

#[track_caller]
fn confirmed(results: &[Result<(), PublishError>]) {
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

/// Everything here lives in one process, so a case that hangs would hang for good.
async fn in_time<T>(case: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), case).await.expect("the case did not end in a minute")
}

#[tokio::test]
async fn passing_errors_neither_lose_nor_double_nor_reorder() {
    in_time(async {
        for error in [
            Err::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Err::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Err::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Err::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            Err::RD_KAFKA_RESP_ERR__TRANSPORT,
        ] {
            let mock = Mock::new();
            // A request for every few records, so that several are under way when one of them fails.
            let transport = mock.transport("batch_bytes=1000&publish_timeout=20s").await;
            mock.fail(&[
                Err::RD_KAFKA_RESP_ERR_NO_ERROR,
                error,
                error,
                Err::RD_KAFKA_RESP_ERR_NO_ERROR,
                error,
            ]);
            confirmed(&transport.publish(&keyed("k", 300)).await);
            assert_eq!(mock.holds("k").await, numbers(0..300), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_queue_waits_and_keeps_the_order() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("queue_messages=10&publish_timeout=30s").await;
        let messages = keyed("k", 1_000);
        for batch in messages.chunks(transport.capabilities().max_batch) {
            confirmed(&transport.publish(batch).await);
        }
        assert_eq!(mock.holds("k").await, numbers(0..1_000));
    })
    .await;
}

#[tokio::test]
async fn a_fatal_error_makes_doubt_and_a_new_producer() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=10s").await;
        for round in 0..3 {
            mock.fail(&[Err::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
            let key = format!("k{round}");
            let results = transport.publish(&keyed(&key, 20)).await;
            assert_eq!(kinds(&results)[0], Some(PublishErrorKind::Unknown), "{results:?}");
            // None uses up an attempt, whether it was handed over or not.
            let outage =
                |kind| matches!(kind, Some(PublishErrorKind::Unknown | PublishErrorKind::Unavailable));
            assert!(kinds(&results).into_iter().all(outage), "{results:?}");
            mock.cluster.clear_request_errors(RDKafkaApiKey::Produce);
            // With and without the reset that the relay makes.
            if round < 2 {
                transport.reset().await;
            }
            confirmed(&transport.publish(&keyed(&key, 20)).await);
            assert_eq!(mock.holds(&key).await, numbers(0..20));
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_key_is_taken_behind_a_record_that_was_refused() {
    in_time(async {
        for error in
            [Err::RD_KAFKA_RESP_ERR_INVALID_RECORD, Err::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]
        {
            let mock = Mock::new();
            // Each record is a request of its own, and five of them are under way.
            let transport = mock.transport("batch_bytes=1&publish_timeout=10s&linger=0").await;
            mock.cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
            let ok = Err::RD_KAFKA_RESP_ERR_NO_ERROR;
            // What a broker says of the requests behind the refused one. The mock cluster checks no sequence numbers
            // itself, so it has to be told.
            let behind = [Err::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER; 4];
            mock.fail(&[&[ok, ok, error][..], &behind].concat());
            let results = transport.publish(&keyed("k", 20)).await;
            assert!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
            let refused = results[2].as_ref().unwrap_err();
            let expected = match error {
                Err::RD_KAFKA_RESP_ERR_INVALID_RECORD => PublishErrorKind::Rejected,
                _ => PublishErrorKind::Retryable,
            };
            assert_eq!(refused.kind(), expected, "{refused}");
            assert!(results[3..].iter().all(Result::is_err), "{results:?}");
            mock.cluster.clear_request_errors(RDKafkaApiKey::Produce);
            mock.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
            transport.reset().await;
            assert_eq!(mock.holds("k").await, numbers(0..2), "{error:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_partition_that_does_not_know_the_producer_gets_one_message_of_a_key_first() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.fresh("batch_bytes=1&publish_timeout=10s&linger=0").await;
        mock.cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
        for key in 0..8 {
            // A new producer each time. The first request is refused, and the partition would take any other.
            mock.fail(&[Err::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
            let key = format!("k{key}");
            let results = transport.publish(&keyed(&key, 5)).await;
            assert!(results.iter().all(Result::is_err), "{results:?}");
            mock.cluster.clear_request_errors(RDKafkaApiKey::Produce);
            transport.reset().await;
            assert!(mock.holds(&key).await.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn without_gapless_order_a_refusal_harms_nobody() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("gapless=false&batch_bytes=1&publish_timeout=10s").await;
        assert!(!transport.capabilities().pipelined_order);
        mock.fail(&[Err::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
        let batch: Vec<OutboxMessage> = (0..20).map(|n| message(TOPIC, &format!("k{n}"), n)).collect();
        let results = transport.publish(&batch).await;
        let failed: Vec<_> = kinds(&results).into_iter().flatten().collect();
        assert_eq!(failed, [PublishErrorKind::Rejected], "{results:?}");
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_refused_is_left_alone_for_a_while() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=10s").await;
        mock.fail(&[Err::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
        for _ in 0..2 {
            // The second time from memory: nothing is injected any more.
            let results = transport.publish(&keyed("k", 3)).await;
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Retryable); 3], "{results:?}");
            let text = results[0].as_ref().unwrap_err().to_string();
            assert!(text.starts_with("this user may not write to topic \"orders\""), "{text}");
        }
        assert!(mock.holds("k").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_topic_is_made_smaller() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=10s").await;
        mock.fail(&[Err::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
        let results = transport.publish(&keyed("k", 50)).await;
        // Nobody knows which of them it was: none may go to the dead letters.
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Retryable); 50], "{results:?}");
        let text = results[0].as_ref().unwrap_err().to_string();
        assert!(text.contains("set batch_bytes"), "{text}");
        confirmed(&transport.publish(&keyed("k", 50)).await);
        assert_eq!(mock.holds("k").await, numbers(0..50));
        // A record of a batch's size is alone in it.
        let large = OutboxMessage::bytes(TOPIC, vec![0; 300_000]).unwrap().build().unwrap();
        mock.fail(&[Err::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
        let results = transport.publish(&[large]).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Rejected)], "{results:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_in_two_topics_keeps_its_order() {
    in_time(async {
        let mock = Mock::new();
        mock.cluster.create_topic("second", 3, 1).unwrap();
        let transport = mock.transport("publish_timeout=10s").await;
        let batch = [
            message(TOPIC, "k", 0),
            message("second", "k", 1),
            message(TOPIC, "k", 2),
            message(TOPIC, "j", 3),
        ];
        confirmed(&transport.publish(&batch).await);
        mock.fail(&[Err::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
        let batch = [message(TOPIC, "k", 4), message("second", "k", 5), message(TOPIC, "k", 6)];
        let results = transport.publish(&batch).await;
        assert!(results.iter().all(Result::is_err), "{results:?}");
        transport.reset().await;
        let servers = mock.cluster.bootstrap_servers();
        assert_eq!(payloads(&servers, TOPIC, "k").await, ["0", "2"]);
        assert_eq!(payloads(&servers, "second", "k").await, ["1"]);
    })
    .await;
}

#[tokio::test]
async fn what_was_not_confirmed_in_time_is_unknown_and_never_arrives_later() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=500ms").await;
        mock.cluster.broker_down(1).unwrap();
        let begun = Instant::now();
        let results = transport.publish(&keyed("k", 50)).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(results.iter().all(Result::is_err), "{results:?}");
        mock.cluster.broker_up(1).unwrap();
        // The next call comes after the old producer is gone; a reset is not needed for that.
        let marker = message(TOPIC, "marker", 0);
        while transport.publish(std::slice::from_ref(&marker)).await[0].is_err() {}
        assert!(mock.holds("k").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_stays_in_flight_is_unknown_and_its_producer_goes() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=500ms&batch_bytes=1&linger=0").await;
        // The broker answers too late. Of one connection it takes five requests, and those arrive.
        mock.cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
        let results = transport.publish(&keyed("k", 50)).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 50], "{results:?}");
        transport.reset().await;
        mock.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
        let marker = message(TOPIC, "marker", 0);
        while transport.publish(std::slice::from_ref(&marker)).await[0].is_err() {}
        let arrived = mock.holds("k").await;
        assert!(arrived.len() <= 5, "{arrived:?}");
        assert_eq!(arrived, numbers(0..arrived.len()));
    })
    .await;
}

#[tokio::test]
async fn closing_without_time_settles_nothing_that_was_not_confirmed() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("publish_timeout=5s").await;
        mock.cluster.broker_round_trip_time(1, Duration::from_secs(3)).unwrap();
        let messages = keyed("k", 30);
        let (results, closed) =
            tokio::join!(transport.publish(&messages), transport.close(Duration::from_millis(50)));
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 30], "{results:?}");
        let error = closed.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unknown, "{error}");
        assert!(error.to_string().contains("under way: 30"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_call_takes_its_records_with_it() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.transport("linger=500ms").await;
        // All of it is in librdkafka's queue, and waits there for others.
        assert!(transport.publish(&keyed("k", 50)).now_or_never().is_none());
        transport.reset().await;
        confirmed(&transport.publish(&keyed("marker", 1)).await);
        assert!(mock.holds("k").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_last_positions_are_stored_although_the_group_changes() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.fresh("").await;
        confirmed(&transport.publish(&keyed("k", 10)).await);
        let url =
            format!("kafka://{}?group=g&topics={TOPIC}&redeliver_after=6s", mock.cluster.bootstrap_servers());
        let mut first = KafkaSubscription::connect(&url).await.unwrap();
        for _ in 0..10 {
            first.next().await.unwrap().ack().await.unwrap();
        }
        // As long as the members have not all heard of the next generation.
        let between = [Err::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 3];
        mock.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &between);
        first.close(Duration::from_secs(10)).await.unwrap();
        confirmed(&transport.publish(&keyed("marker", 1)).await);
        let mut second = KafkaSubscription::connect(&url).await.unwrap();
        let next = second.next().await.unwrap();
        let key = next.message().unwrap().ordering_key().map(OrderingKey::as_str);
        assert_eq!(key, Some("marker"), "what was settled does not come again");
        drop(next);
        second.close(Duration::from_secs(10)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_full_member_that_is_thrown_out_reads_again() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.fresh("").await;
        confirmed(&transport.publish(&keyed("k", 10)).await);
        let servers = mock.cluster.bootstrap_servers();
        let url = format!("kafka://{servers}?group=g&topics={TOPIC}&prefetch=1&redeliver_after=6s");
        let mut reader = KafkaSubscription::connect(&url).await.unwrap();
        let mut delivery = reader.next().await.unwrap();
        // Between two heartbeats there is time enough to notice that there is no room, and to stop reading.
        let heartbeats = [Err::RD_KAFKA_RESP_ERR_NO_ERROR, Err::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION];
        mock.cluster.request_errors(RDKafkaApiKey::Heartbeat, &heartbeats);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while delivery.extend().await.is_ok() {
            tick.tick().await;
        }
        // There is room before the partitions come back.
        drop(delivery);
        for _ in 0..10 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        reader.close(Duration::from_secs(10)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_committed_position_follows_a_log_that_is_read_again() {
    in_time(async {
        let mock = Mock::new();
        let transport = mock.fresh("").await;
        confirmed(&transport.publish(&keyed("k", 10)).await);
        let servers = mock.cluster.bootstrap_servers();
        let url = format!("kafka://{servers}?group=g&topics={TOPIC}&redeliver_after=6s");
        let mut reader = KafkaSubscription::connect(&url).await.unwrap();
        for _ in 0..5 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        committed(&servers, 5).await;
        let held = reader.next().await.unwrap();
        for _ in 6..10 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        // What a broker says that has less than was read before.
        mock.cluster.request_errors(RDKafkaApiKey::Fetch, &[Err::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE]);
        for _ in 0..3 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        committed(&servers, 3).await;
        for _ in 3..10 {
            reader.next().await.unwrap().ack().await.unwrap();
        }
        committed(&servers, 10).await;
        drop(held);
        reader.close(Duration::from_secs(10)).await.unwrap();
    })
    .await;
}

/// Waits until a position is committed, of all partitions together.
async fn committed(servers: &str, position: i64) {
    let mut config = client_config(servers);
    config.set("group.id", "g");
    let waited = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(TOPIC, 0, 2);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = client.committed_offsets(list.clone(), Duration::from_secs(5)).unwrap();
            let sum: i64 =
                found.elements().iter().filter_map(|of| of.offset().to_raw()).map(|of| of.max(0)).sum();
            if sum == position {
                return;
            }
            assert!(Instant::now() < deadline, "{sum} is committed, not {position}");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn an_unreachable_broker_is_no_error_of_the_construction() {
    in_time(async {
        let transport = KafkaTransport::connect("kafka://127.0.0.1:1?connect_timeout=1s").await.unwrap();
        let results = transport.publish(&keyed("k", 2)).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Unavailable); 2]);
        let error = transport.check().await.unwrap_err().to_string();
        assert!(error.starts_with("Kafka can't be reached at 127.0.0.1:1: "), "{error}");
        assert!(error.contains("refused"), "{error}");
        assert!(KafkaTransport::connect("kafka://127.0.0.1:1?timeout=1s").await.is_err());
    })
    .await;
}
