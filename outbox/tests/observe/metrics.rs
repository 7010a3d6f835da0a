use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use outbox::memory::{MemoryStore, MemoryTransport, Verdict};
use outbox::observe::{Observer, prometheus_builder};
use outbox::relay::Relay;
use outbox::relay::metrics::names::{self, Kind};
use outbox::{OutboxMessage, PublishErrorKind};

use crate::client::{get, until};

/// Samples of a scrape, by the whole series.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

// With a recorder for this thread, and so for this test: other tests of the process count, too.
#[tokio::test]
async fn what_a_relay_does_can_be_scraped() {
    let recorder = prometheus_builder().build_recorder();
    let _here = metrics::set_default_local_recorder(&recorder);
    let (store, broker) = (MemoryStore::new(), MemoryTransport::new());
    broker.set_behaviour(|message, nth| match message.topic().as_str() {
        "refused" => Verdict::Fail(PublishErrorKind::Rejected),
        "late" if nth == 1 => Verdict::Fail(PublishErrorKind::Retryable),
        _ => Verdict::Accept,
    });
    let relay = Relay::shared(Arc::new(store.clone()), Arc::new(broker.clone()))
        .configure(|config| config.retry.schedule = vec![Duration::from_millis(50)])
        .start()
        .await
        .unwrap();
    let observing = Observer::new()
        .relay(&relay)
        .store(Arc::new(store.clone()))
        .interval(Duration::from_millis(100))
        .exporter(recorder.handle())
        .serve((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let message = |topic: &str| OutboxMessage::bytes(topic, "x").unwrap().build().unwrap();
    store.enqueue_all(&[message("orders"), message("orders"), message("refused"), message("late")]);
    relay.drained().await.unwrap();

    let dead = |text: &str| samples(text).get("outbox_dead_letters") == Some(&1.0);
    let answer = until(observing.address(), "/metrics", |answer| dead(&answer.body)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let text = answer.body;
    let samples = samples(&text);
    let value = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(value("outbox_published_total{path=\"relayed\",transport=\"memory\",topic=\"orders\"}"), 2.0);
    assert_eq!(value("outbox_published_total{path=\"relayed\",transport=\"memory\",topic=\"late\"}"), 1.0);
    assert_eq!(
        value("outbox_publish_errors_total{path=\"relayed\",kind=\"rejected\",transport=\"memory\"}"),
        1.0
    );
    assert_eq!(
        value("outbox_publish_errors_total{path=\"relayed\",kind=\"unknown\",transport=\"memory\"}"),
        0.0
    );
    assert_eq!(value("outbox_dead_total{reason=\"rejected\"}"), 1.0);
    assert_eq!(value("outbox_retries_total"), 1.0);
    assert_eq!((value("outbox_pending"), value("outbox_shards_owned")), (0.0, 16.0));
    assert_eq!(value("outbox_commit_to_ack_seconds_count{transport=\"memory\"}"), 3.0);
    assert_eq!(value("outbox_commit_to_ack_seconds_bucket{transport=\"memory\",le=\"3600\"}"), 3.0);

    // Everything that a relay and a sampler report is there from the start, with type and help.
    for metric in names::RELAY.iter().chain(names::STATS) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            _ => "histogram",
        };
        for line in
            [format!("# TYPE {} {kind}", metric.name), format!("# HELP {} {}", metric.name, metric.help)]
        {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    relay.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_recorder_of_the_process_is_installed_once_and_serves_every_observer() {
    let first = Observer::new().serve((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    metrics::counter!("of_this_test_alone").increment(3);
    let second = Observer::new().serve((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for observing in [first, second] {
        let text = get(observing.address(), "/metrics").await.body;
        assert!(text.lines().any(|line| line == "of_this_test_alone 3"), "{text}");
        observing.shutdown().await;
    }
}

#[tokio::test]
async fn a_recorder_of_the_process_itself_can_be_served() {
    let recorder = prometheus_builder().add_global_label("service", "shop").build_recorder();
    let exporter = recorder.handle();
    {
        let _here = metrics::set_default_local_recorder(&recorder);
        metrics::histogram!(names::PUBLISH_SECONDS, "transport" => "memory").record(0.004);
    }
    let observing = Observer::new().exporter(exporter).serve((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let text = get(observing.address(), "/metrics").await.body;
    let bucket = |le: &str| {
        format!("outbox_publish_seconds_bucket{{service=\"shop\",transport=\"memory\",le=\"{le}\"}}")
    };
    let samples = samples(&text);
    let of = |le: &str| samples.get(bucket(le).as_str()).copied();
    assert_eq!((of("0.003"), of("0.005")), (Some(0.0), Some(1.0)), "{text}");
}
