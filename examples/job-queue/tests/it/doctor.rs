use std::future::ready;

use job_queue::runner;
use outbox::{Config, Finding, Severity};
use outbox_conformance::transport_suite::BrokerProcess as _;

use crate::place::{LIST, Place, drained, until};

/// What `outbox doctor` says of the topic of the jobs that wait, with this URL as that of the transport.
async fn look(place: &Place, transport: &str, subject: &str) -> Finding {
    let config = Config::sources().set("store.url", place.store_url()).set("transport.url", transport).load();
    // No topic is named: doctor looks at those of the messages that wait.
    let diagnoses = config.unwrap().diagnose(&[]).await;
    let part = diagnoses.iter().find(|diagnosis| diagnosis.part == "transport").unwrap();
    let found = part.findings.iter().find(|finding| finding.subject == subject);
    found.unwrap_or_else(|| panic!("nothing about {subject}: {diagnoses:#?}")).clone()
}

#[tokio::test]
async fn scenario_doctor_finds_a_wrong_queue_name_and_says_what_to_do() {
    let Some(place) = Place::new().await else { return };
    place.order(3).await;
    let relay = place.relay().await;
    drained(&relay).await;
    relay.shutdown().await.unwrap();
    // In the list are three, and these wait.
    place.order(3).await;
    let of_topic = async |transport: &str| look(&place, transport, "topic images.resize").await;

    let unread = of_topic(&place.list_url()).await;
    assert_eq!(unread.severity, Severity::Warning);
    assert_eq!(unread.detail, format!("3 elements wait in the list {LIST:?}, and no consumer takes from it"));

    // It is the name that is wrong, and not that nothing runs.
    let runner = runner(&place.pool, &place.runner_url(), |_| ready(Ok(())), |_| {}).await.unwrap();
    until("nothing runs", || ready(runner.stats().applied == 3)).await;
    let right = of_topic(&place.list_url()).await;
    let expected = format!("0 elements wait in the list {LIST:?}, and 1 consumers take from it");
    assert_eq!((right.severity, right.detail), (Severity::Ok, expected));

    let misspelt = of_topic(&place.list_url().replace("shop.", "shpo.")).await;
    assert_eq!(misspelt.severity, Severity::Warning);
    let expected = r#"0 elements wait in the list "shpo.images.resize", and no consumer takes from it"#;
    assert_eq!(misspelt.detail, expected);
    assert!(misspelt.remedy.unwrap().contains("compare the name with that of the consumer"));
    runner.shutdown().await.unwrap();

    let relay = place.relay().await;
    drained(&relay).await;
    relay.shutdown().await.unwrap();
    place.order(3).await;
    let other_kind = of_topic(&place.list_url().replace("mode=list", "mode=stream")).await;
    assert_eq!(other_kind.severity, Severity::Error);
    assert_eq!(other_kind.detail, format!("the key {LIST:?} is a list, not a stream"));
    assert_eq!(other_kind.remedy.unwrap(), "choose the other mode, a prefix, or another topic");

    place.redis.kill().await;
    let away = look(&place, &place.list_url(), "Redis").await;
    assert_eq!((away.severity, &*away.remedy.unwrap()), (Severity::Error, "start it, or correct its URL"));
    assert_eq!(
        (place.waiting().await, place.count("SELECT count(*) FROM jobs").await),
        (3, 9),
        "it changes nothing"
    );
}
