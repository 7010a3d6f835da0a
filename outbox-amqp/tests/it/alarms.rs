//! A broker that is short of memory takes nothing, and nothing is lost by that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Event};
use outbox_amqp::AmqpTransport;
use outbox_conformance::servers::Server;
use outbox_core::{OutboxMessage, PublishErrorKind, Severity, Transport};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cases::{ctl, kinds, messages, on_a_node};
use crate::fixture::{client, queue, read_queue};

/// Shares of the memory that a node may use.
const ALARM: &str = "0.00001";
const CALM: &str = "0.4";

async fn watermark(server: &Server, share: &str) {
    ctl(server, &["set_vm_memory_high_watermark", share]).await;
}

/// Waits until the node blocks those who publish.
async fn blocks(url: &str) {
    use futures_util::StreamExt as _;

    let (connection, channel) = client(url).await.unwrap();
    let mut events = std::pin::pin!(connection.events_listener());
    let blocked = async {
        loop {
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            drop(channel.basic_publish("".into(), "nowhere".into(), options, b"?", properties).await);
            let soon = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
            if matches!(soon, Ok(Some(Event::ConnectionBlocked(_)))) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), blocked).await.expect("no alarm");
}

#[tokio::test]
async fn an_alarm_is_seen_and_publishing_resumes_after_it() {
    on_a_node("", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        queue(&channel, "t", FieldTable::default()).await;
        let amqp = AmqpTransport::connect(&format!("{url}?publish_timeout=2s")).await.unwrap();
        assert_eq!(kinds(&amqp.publish(&messages("t", 1)).await), [None]);
        watermark(&server, ALARM).await;
        // The connection learns it when it publishes next.
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut given_up = 0;
        while amqp.check().await.is_ok() {
            assert!(Instant::now() < deadline, "the alarm was not seen");
            let results = amqp.publish(&messages("t", 10)).await;
            given_up += results.iter().filter(|result| result.is_err()).count();
            if given_up > 0 {
                break;
            }
        }
        let blocked = amqp.check().await.unwrap_err();
        assert_eq!(blocked.kind(), PublishErrorKind::Unavailable);
        assert!(blocked.to_string().contains("alarm"), "{blocked}");
        let refused = amqp.publish(&messages("t", 10)).await;
        assert_eq!(kinds(&refused), [Some(PublishErrorKind::Unavailable); 10], "{refused:?}");
        let found = amqp.diagnose(&[]).await;
        assert!(found.iter().any(|finding| finding.severity == Severity::Error), "{found:?}");
        amqp.reset().await;
        watermark(&server, CALM).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        while kinds(&amqp.publish(&messages("t", 1)).await) != [None] {
            assert!(Instant::now() < deadline, "it does not resume");
            amqp.reset().await;
        }
    })
    .await;
}

/// The broker tells a connection of its alarm when it reads a message from there; it must not be one of the user's.
#[tokio::test]
async fn what_a_fresh_or_a_silent_connection_publishes_during_an_alarm_never_arrives() {
    on_a_node("", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        queue(&channel, "t", FieldTable::default()).await;
        let silent = AmqpTransport::connect(&format!("{url}?publish_timeout=10s")).await.unwrap();
        assert_eq!(kinds(&silent.publish(&messages("t", 1)).await), [None]);
        let silence = Instant::now() + Duration::from_secs(5);
        watermark(&server, ALARM).await;
        blocks(&url).await;
        for round in 0..3 {
            let config = format!("{url}?publish_timeout=10s").parse().unwrap();
            let (amqp, begun) = (AmqpTransport::new(config).unwrap(), Instant::now());
            for _ in 0..2 {
                let refused = amqp.publish(&messages("t", 10)).await;
                assert_eq!(
                    kinds(&refused),
                    [Some(PublishErrorKind::Unavailable); 10],
                    "{round}: {refused:?}"
                );
                assert!(refused[0].as_ref().unwrap_err().to_string().contains("alarm"), "{refused:?}");
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "it is known at once");
            let unchecked =
                AmqpTransport::new(format!("{url}?publish_timeout=10s").parse().unwrap()).unwrap();
            assert_eq!(unchecked.check().await.unwrap_err().kind(), PublishErrorKind::Unavailable);
        }
        sleep_until(silence).await;
        let refused = silent.publish(&messages("t", 10)).await;
        assert_eq!(kinds(&refused), [Some(PublishErrorKind::Unavailable); 10], "{refused:?}");
        watermark(&server, CALM).await;
        let amqp = AmqpTransport::connect(&url).await.unwrap();
        let marker = messages("t", 1);
        let deadline = Instant::now() + Duration::from_secs(30);
        while kinds(&amqp.publish(&marker).await) != [None] {
            assert!(Instant::now() < deadline, "it does not resume");
            amqp.reset().await;
        }
        assert_eq!(read_queue(&url, "t").await.len(), 2, "only what was published before and after it");
    })
    .await;
}

const CHANNELS: usize = 2;
const WINDOW: usize = 50;

/// Window after window, and what failed again, as a relay would.
async fn publish_until(
    amqp: &AmqpTransport,
    confirmed: &AtomicUsize,
    over: &AtomicBool,
) -> Vec<OutboxMessage> {
    let (mut all, mut open) = (Vec::new(), Vec::new());
    while !over.load(Ordering::SeqCst) || !open.is_empty() {
        if open.is_empty() {
            open = messages("t", WINDOW);
            all.extend(open.iter().cloned());
        }
        let results = amqp.publish(&open).await;
        if kinds(&results).contains(&Some(PublishErrorKind::Unknown)) {
            amqp.reset().await;
        }
        let before = open.len();
        let mut failed = results.iter().map(Result::is_err);
        open.retain(|_| failed.next().unwrap());
        confirmed.fetch_add(before - open.len(), Ordering::SeqCst);
        // A relay waits for its clock too.
        sleep(Duration::from_millis(20)).await;
    }
    all
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "the figures of a run are worth a line")]
async fn an_alarm_costs_no_message_and_copies_within_the_windows() {
    let seconds = std::env::var("OUTBOX_TEST_ALARM_SECONDS").map_or(3, |text| text.parse().unwrap());
    on_a_node("", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        queue(&channel, "t", FieldTable::default()).await;
        let in_flight = CHANNELS * WINDOW;
        let url_of_amqp = format!("{url}?publish_timeout=1s&channels={CHANNELS}&max_in_flight={in_flight}");
        let amqp = AmqpTransport::connect(&url_of_amqp).await.unwrap();
        let (confirmed, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let more = async |count: usize| {
            let (goal, deadline) =
                (confirmed.load(Ordering::SeqCst) + count, Instant::now() + Duration::from_secs(30));
            while confirmed.load(Ordering::SeqCst) < goal {
                assert!(Instant::now() < deadline, "nothing is confirmed");
                sleep(Duration::from_millis(5)).await;
            }
        };
        let operating = async {
            more(500).await;
            watermark(&server, ALARM).await;
            blocks(&url).await;
            let before = confirmed.load(Ordering::SeqCst);
            sleep(Duration::from_secs(seconds)).await;
            // What was under way when it began.
            let during = confirmed.load(Ordering::SeqCst) - before;
            assert!(during <= in_flight, "{during} were confirmed during the alarm");
            watermark(&server, CALM).await;
            more(500).await;
            over.store(true, Ordering::SeqCst);
        };
        let publishing = || publish_until(&amqp, &confirmed, &over);
        let (one, two, ()) = tokio::join!(publishing(), publishing(), operating);
        let mut copies: HashMap<String, usize> = HashMap::new();
        for (_, found) in read_queue(&url, "t").await {
            *copies.entry(found.id).or_default() += 1;
        }
        let (messages, stored) = (one.len() + two.len(), copies.values().sum::<usize>());
        for message in one.iter().chain(&two) {
            assert!(copies.contains_key(&message.id().to_string()), "{message:?} is lost");
        }
        assert_eq!(copies.len(), messages, "nothing else is there");
        let (more, most) = (stored - messages, copies.values().max().unwrap());
        eprintln!(
            "alarm of {seconds} s: {messages} messages, 0 lost, {more} copies more than messages \
             (at most {in_flight}), at most {most} of one"
        );
        assert!(more <= in_flight, "{more} copies too many");
    })
    .await;
}

/// What is read and settled may be what frees the memory.
#[cfg(feature = "subscription")]
#[tokio::test]
async fn a_dead_letter_during_an_alarm_does_not_stop_consuming() {
    use outbox_amqp::AmqpSubscription;
    use outbox_core::{SubscribeErrorKind, Subscription};

    use crate::dead_letters::count;

    on_a_node("", async |server, url| {
        let url_of_group = format!("{url}?group=g&topics=t&create=true&queue_type=classic&prefetch=5");
        let mut subscription = AmqpSubscription::connect(&url_of_group).await.unwrap();
        let amqp = AmqpTransport::connect(&url).await.unwrap();
        assert_eq!(kinds(&amqp.publish(&messages("t", 20)).await), [None; 20]);
        watermark(&server, ALARM).await;
        blocks(&url).await;
        let first = subscription.next().await.unwrap();
        let refused = first.dead_letter("no use").await.unwrap_err();
        assert_eq!(refused.kind(), SubscribeErrorKind::Unavailable, "{refused}");
        for number in 1..20 {
            let settling = async { subscription.next().await.unwrap().ack().await };
            let settled = tokio::time::timeout(Duration::from_secs(5), settling).await;
            settled.expect("consuming has stopped").unwrap_or_else(|error| panic!("{number}: {error}"));
        }
        assert!(refused.to_string().contains("alarm"), "{refused}");
        watermark(&server, CALM).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = subscription.next().await.unwrap().dead_letter("no use").await {
            assert!(Instant::now() < deadline, "it does not resume: {error}");
        }
        subscription.close(Duration::from_secs(10)).await.unwrap();
        let (_connection, channel) = client(&url).await.unwrap();
        assert_eq!((count(&channel, "t").await, count(&channel, "g.dead").await), (0, 1));
    })
    .await;
}
