//! What is special about JetStream on the receiving side: its consumers, its pulls, its dead letters.

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use outbox_conformance::servers::Server;
use outbox_conformance::transport_suite::BrokerProcess;
use outbox_conformance::{Proxy, started};
use outbox_core::{Delivery, OutboxMessage, SubscribeErrorKind, Subscription, Transport};
use outbox_nats::{NatsSubscription, NatsTransport};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::fixture::{at, client, create_stream, freeze};

const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_millis(700);

async fn on_a_server<Fut: Future<Output = ()>>(case: impl FnOnce(Server) -> Fut) {
    if let Some(server) = started("nats-server", Server::nats(None).await) {
        timeout(2 * PATIENCE, case(server)).await.expect("the case did not end in a minute");
    }
}

async fn subscription(server: &str, parameters: &str) -> NatsSubscription {
    NatsSubscription::connect(&format!("{server}?group=g&{parameters}")).await.unwrap()
}

fn message(topic: &str, payload: impl Into<String>) -> OutboxMessage {
    OutboxMessage::bytes(topic, payload.into()).unwrap().build().unwrap()
}

async fn publish(server: &str, messages: &[OutboxMessage]) {
    let transport = NatsTransport::connect(server).await.unwrap();
    for result in transport.publish(messages).await {
        result.unwrap();
    }
}

async fn next(subscription: &mut NatsSubscription) -> Delivery {
    timeout(PATIENCE, subscription.next()).await.expect("nothing arrives").unwrap()
}

async fn silent(subscription: &mut NatsSubscription) {
    if let Ok(arrived) = timeout(SILENCE, subscription.next()).await {
        panic!("nothing was to arrive, and there is {arrived:?}");
    }
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message().unwrap().payload().to_vec()).unwrap()
}

async fn consumer_config(jetstream: &jetstream::Context, stream: &str, name: &str) -> consumer::Config {
    let stream = jetstream.get_stream(stream).await.unwrap();
    stream.consumer_info(name).await.unwrap().config
}

#[tokio::test]
async fn a_missing_consumer_is_named_and_made_if_asked_for() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let mut strict = subscription(&at(server.port()), "topics=S.a").await;
        let error = strict.check().await.unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Missing);
        assert_eq!(
            error.to_string(),
            "stream \"S\" has no consumer \"g@S=a\" for topic \"S.a\": create it (durable, pull, ack_policy \
             explicit, filter_subject \"S.a\"), or let create=true do so"
        );
        subscription(&at(server.port()), "topics=S.a&create=true&redeliver_after=7s")
            .await
            .check()
            .await
            .unwrap();
        let made = consumer_config(&js, "S", "g@S=a").await;
        assert_eq!(made.durable_name.as_deref(), Some("g@S=a"));
        assert_eq!((made.ack_policy, made.ack_wait), (consumer::AckPolicy::Explicit, Duration::from_secs(7)));
        assert_eq!((made.filter_subject.as_str(), made.max_deliver), ("S.a", -1));
        // It was made, so that it can be read by one that makes nothing.
        let mut strict = subscription(&at(server.port()), "topics=S.a&redeliver_after=7s").await;
        publish(&at(server.port()), &[message("S.a", "m")]).await;
        next(&mut strict).await.ack().await.unwrap();
        let elsewhere =
            subscription(&at(server.port()), "topics=S.a&stream=NONE&create=true").await.check().await;
        assert_eq!(elsewhere.unwrap_err().kind(), SubscribeErrorKind::Missing);
        let wrong = subscription(&at(server.port()), "topics=T.a&stream=S&create=true").await.check().await;
        assert_eq!(wrong.unwrap_err().to_string(), "stream \"S\" does not take topic \"T.a\"");
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_breaks_the_contract_is_refused() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let stream = js.get_stream("S").await.unwrap();
        let config = |change: fn(&mut consumer::pull::Config)| {
            let mut config = consumer::pull::Config {
                durable_name: Some("g@S=a".to_owned()),
                filter_subject: "S.a".to_owned(),
                ack_wait: Duration::from_secs(60),
                ..consumer::pull::Config::default()
            };
            change(&mut config);
            config
        };
        for (change, setting) in [
            ((|config| config.max_deliver = 5) as fn(&mut consumer::pull::Config), "max_deliver"),
            (|config| config.filter_subject = "S.>".to_owned(), "filter_subject"),
            (|config| config.ack_policy = consumer::AckPolicy::All, "ack_policy"),
            (|config| config.ack_wait = Duration::from_secs(1), "ack_wait"),
        ] {
            stream.create_consumer(config(change)).await.unwrap();
            let error =
                subscription(&at(server.port()), "topics=S.a&create=true").await.next().await.unwrap_err();
            assert_eq!(error.kind(), SubscribeErrorKind::Refused);
            assert!(error.to_string().contains(setting), "{error}");
            stream.delete_consumer("g@S=a").await.unwrap();
        }
        // A longer wait and a smaller window are nobody's loss.
        stream
            .create_consumer(config(|config| (config.max_batch, config.max_ack_pending) = (2, 3)))
            .await
            .unwrap();
        let mut reader = subscription(&at(server.port()), "topics=S.a").await;
        let sent: Vec<_> = (0..9).map(|n| message("S.a", n.to_string())).collect();
        publish(&at(server.port()), &sent).await;
        for n in 0..9 {
            let delivery = next(&mut reader).await;
            assert_eq!(payload(&delivery), n.to_string());
            delivery.ack().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn several_topics_of_several_streams_are_read() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "A").await;
        create_stream(&js, "B").await;
        // Fewer deliveries at once than there are topics.
        let mut reader = subscription(&at(server.port()), "topics=A.x,A.y,B.z&create=true&prefetch=2").await;
        let topics = ["A.x", "A.y", "B.z", "A.other"];
        let sent: Vec<_> = (0..40).map(|n| message(topics[n % 4], n.to_string())).collect();
        publish(&at(server.port()), &sent).await;
        let mut held = Vec::new();
        let mut found = Vec::new();
        while found.len() < 30 {
            held.push(next(&mut reader).await);
            if held.len() == 2 {
                assert!(timeout(Duration::from_millis(20), reader.next()).await.is_err(), "three at once");
                for delivery in held.drain(..) {
                    found.push(payload(&delivery).parse::<usize>().unwrap());
                    delivery.ack().await.unwrap();
                }
            }
        }
        for topic in 0..3 {
            let of_topic: Vec<_> = found.iter().copied().filter(|n| n % 4 == topic).collect();
            assert_eq!(of_topic, (0..40).filter(|n| n % 4 == topic).collect::<Vec<_>>());
        }
        silent(&mut reader).await;
        // Another topic is another consumer, and the places in the others are kept.
        let mut more = subscription(&at(server.port()), "topics=A.x,A.other&create=true").await;
        for _ in 0..10 {
            let delivery = next(&mut more).await;
            assert_eq!(payload(&delivery).parse::<usize>().unwrap() % 4, 3);
            delivery.ack().await.unwrap();
        }
        silent(&mut more).await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_needs_a_stream_and_is_there_once() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let mut reader = subscription(&at(server.port()), "topics=S.a&create=true&redeliver_after=1s").await;
        let poison = message("S.a", "poison");
        publish(&at(server.port()), std::slice::from_ref(&poison)).await;
        let error = next(&mut reader).await.dead_letter("bad").await.unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Missing);
        assert!(error.to_string().contains("dead letters, subject \"g.dead\""), "{error}");
        let config = stream::Config {
            name: "DEAD".to_owned(),
            subjects: vec!["g.dead".to_owned()],
            ..stream::Config::default()
        };
        js.create_stream(config).await.unwrap();
        let again = next(&mut reader).await;
        assert_eq!(again.attempt(), Some(2));
        // Somebody was there before, and its settlement did not come through.
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{}.g.dead", poison.id()));
        js.publish_with_headers("g.dead", headers, "poison".into()).await.unwrap().await.unwrap();
        again.dead_letter("bad").await.unwrap();
        assert_eq!(js.get_stream("DEAD").await.unwrap().cached_info().state.messages, 1);
        silent(&mut reader).await;
        let pending = js.get_stream("S").await.unwrap().consumer_info("g@S=a").await.unwrap().num_ack_pending;
        assert_eq!(pending, 0);
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_is_read_as_the_message_that_it_was() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        for envelope in ["cloudevents", "raw"] {
            let topic = format!("S.{envelope}");
            let options = format!("create=true&dead_letters=S.dead.{envelope}");
            let mut reader = subscription(&at(server.port()), &format!("topics={topic}&{options}")).await;
            let full = OutboxMessage::bytes(&topic, "x").unwrap().header("tenant", "acme").build().unwrap();
            publish(&format!("{}?envelope={envelope}", at(server.port())), std::slice::from_ref(&full)).await;
            next(&mut reader).await.dead_letter("bad").await.unwrap();
            let parameters = format!("topics=S.dead.{envelope}&create=true&dead_letters=S.dead.again");
            let mut doctor = subscription(&at(server.port()), &parameters).await;
            let found = next(&mut doctor).await;
            let read = found.message().unwrap();
            assert_eq!(
                (read.id(), read.payload(), read.headers()),
                (full.id(), full.payload(), full.headers())
            );
            found.ack().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_survived() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        // Short pulls have short heartbeats.
        let short = consumer::pull::Config {
            durable_name: Some("g@S=a".to_owned()),
            filter_subject: "S.a".to_owned(),
            ack_wait: Duration::from_secs(30),
            max_expires: Duration::from_secs(1),
            ..consumer::pull::Config::default()
        };
        js.get_stream("S").await.unwrap().create_consumer(short).await.unwrap();
        let proxy = Proxy::to(server.port()).await;
        let url = at(proxy.port());
        let mut reader = subscription(&url, "topics=S.a&request_timeout=1s&connect_timeout=1s").await;
        // Several pulls run out meanwhile, and nobody is told.
        assert!(timeout(Duration::from_millis(2500), reader.next()).await.is_err());
        proxy.black_hole(true);
        let error = timeout(PATIENCE, reader.next()).await.expect("it is silent").unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Unavailable);
        assert_eq!(error.to_string(), "NATS has fallen silent: no message and no heartbeat");
        publish(&at(server.port()), &[message("S.a", "m")]).await;
        // The silent connection is not used again.
        let error = timeout(PATIENCE, reader.next()).await.expect("it is silent").unwrap_err();
        assert!(error.to_string().starts_with("NATS can't be reached"), "{error}");
        proxy.black_hole(false);
        let found = loop {
            match timeout(PATIENCE, reader.next()).await.expect("it does not come back") {
                Ok(delivery) => break delivery,
                Err(error) => assert_eq!(error.kind(), SubscribeErrorKind::Unavailable, "{error}"),
            }
        };
        assert_eq!(payload(&found), "m");
        found.ack().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_delivery_outlives_its_connection() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let proxy = Proxy::to(server.port()).await;
        let url = at(proxy.port());
        let mut reader = subscription(&url, "topics=S.a&create=true&redeliver_after=2s").await;
        publish(&at(server.port()), &[message("S.a", "1"), message("S.a", "2")]).await;
        let (first, second) = (next(&mut reader).await, next(&mut reader).await);
        proxy.reset().await;
        first.ack().await.unwrap();
        second.nack(Duration::ZERO).await.unwrap();
        let again = loop {
            match timeout(PATIENCE, reader.next()).await.expect("it does not come again") {
                Ok(delivery) => break delivery,
                Err(error) => assert_eq!(error.kind(), SubscribeErrorKind::Unavailable, "{error}"),
            }
        };
        // Not the attempt: servers before 2.10.15 begin anew to count what is handed back after a broken connection.
        assert_eq!(payload(&again), "2");
        again.ack().await.unwrap();
        assert!(
            timeout(Duration::from_secs(3), reader.next()).await.is_err(),
            "what was acknowledged came again"
        );
    })
    .await;
}

#[tokio::test]
async fn what_waits_behind_slow_work_stays_ours() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let parameters = "topics=S.a&create=true&redeliver_after=600ms";
        let mut slow = subscription(&at(server.port()), parameters).await;
        let sent: Vec<_> = (0..5).map(|n| message("S.a", n.to_string())).collect();
        publish(&at(server.port()), &sent).await;
        let mut working = next(&mut slow).await;
        let mut other = subscription(&at(server.port()), parameters).await;
        // Work that takes several times as long as a delivery may, without a call of `next`.
        let done = Instant::now() + Duration::from_secs(3);
        while Instant::now() < done {
            working.extend().await.unwrap();
            if let Ok(arrived) = timeout(Duration::from_millis(150), other.next()).await {
                panic!("it waits for its turn elsewhere, and there is {arrived:?}");
            }
        }
        working.ack().await.unwrap();
        for n in 1..5 {
            let delivery = next(&mut slow).await;
            assert_eq!((payload(&delivery), delivery.attempt()), (n.to_string(), Some(1)));
            delivery.ack().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_is_dropped_takes_its_place_until_it_comes_again() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let mut reader =
            subscription(&at(server.port()), "topics=S.a&create=true&prefetch=1&redeliver_after=1500ms")
                .await;
        publish(&at(server.port()), &[message("S.a", "1"), message("S.a", "2")]).await;
        drop(next(&mut reader).await);
        silent(&mut reader).await;
        let again = next(&mut reader).await;
        assert_eq!((payload(&again).as_str(), again.attempt()), ("1", Some(2)));
        // One that waits for its next try takes no place.
        again.nack(Duration::from_secs(30)).await.unwrap();
        let second = next(&mut reader).await;
        assert_eq!(payload(&second), "2");
        second.ack().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_missing() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        subscription(&at(server.port()), "topics=S.a&create=true").await.close(PATIENCE).await.unwrap();
        let mut reader = subscription(&at(server.port()), "topics=S.a").await;
        publish(&at(server.port()), &[message("S.a", "1")]).await;
        let held = next(&mut reader).await;
        js.get_stream("S").await.unwrap().delete_consumer("g@S=a").await.unwrap();
        for _ in 0..2 {
            let error = timeout(PATIENCE, reader.next()).await.expect("it is silent").unwrap_err();
            assert_eq!(error.kind(), SubscribeErrorKind::Missing, "{error}");
        }
        assert_eq!(held.ack().await.unwrap_err().kind(), SubscribeErrorKind::Stale);
    })
    .await;
}

#[tokio::test]
async fn no_connection_outlives_its_subscription() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        publish(&at(server.port()), &[message("S.a", "1"), message("S.a", "2")]).await;
        let proxy = Proxy::to(server.port()).await;
        let url = at(proxy.port());
        let mut reader = subscription(&url, "topics=S.a&create=true").await;
        let held = next(&mut reader).await;
        proxy.has_open(1).await;
        reader.close(PATIENCE).await.unwrap();
        proxy.has_open(0).await;
        assert_eq!(held.ack().await.unwrap_err().kind(), SubscribeErrorKind::Closed);
        proxy.has_open(0).await;
        let mut reader = subscription(&url, "topics=S.a").await;
        let held = next(&mut reader).await;
        drop(reader);
        // It can still be settled, and goes with its receipt.
        held.ack().await.unwrap();
        proxy.has_open(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_settlement_is_confirmed_by_the_server() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        let mut reader = subscription(&at(server.port()), "topics=S.a&create=true&request_timeout=1s").await;
        publish(&at(server.port()), &[message("S.a", "1")]).await;
        let held = next(&mut reader).await;
        freeze(&server).await;
        let error = timeout(PATIENCE, held.ack()).await.expect("it hangs").unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Unavailable);
        assert!(error.to_string().starts_with("NATS did not confirm; the message may come again"), "{error}");
        server.thaw().await;
        // The server had it all the same.
        let stream = js.get_stream("S").await.unwrap();
        while stream.consumer_info("g@S=a").await.unwrap().num_ack_pending > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Publishes with a header that only a server sends, as no client does.
async fn publish_with_status(server: &Server, subject: &str, status: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).await.unwrap();
    let header = format!("NATS/1.0 {status}\r\n\r\n");
    let length = header.len();
    let text = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\n\
         HPUB {subject} {length} {}\r\n{header}m\r\nPING\r\n",
        length + 1
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    while lines.next_line().await.unwrap().expect("the server hangs up") != "PONG" {}
}

#[tokio::test]
async fn a_stored_message_that_looks_like_a_status_is_a_delivery() {
    on_a_server(async |server| {
        let js = client(&at(server.port())).await.unwrap();
        create_stream(&js, "S").await;
        create_stream(&js, "DEAD").await;
        let parameters = "topics=S.a&create=true&dead_letters=DEAD.x&prefetch=2";
        let mut reader = subscription(&at(server.port()), parameters).await;
        let forged = ["100 Idle Heartbeat", "404 No Messages", "408", "409 Consumer Deleted", "503 x"];
        for status in forged {
            publish_with_status(&server, "S.a", status).await;
        }
        publish(&at(server.port()), &[message("S.a", "last")]).await;
        for status in forged {
            let delivery = next(&mut reader).await;
            assert!(delivery.message().is_err(), "{status}: {delivery:?}");
            assert_eq!(delivery.attempt(), Some(1), "{status}");
            delivery.dead_letter("no message of an outbox").await.unwrap();
        }
        let last = next(&mut reader).await;
        assert_eq!((payload(&last).as_str(), last.attempt()), ("last", Some(1)));
        last.ack().await.unwrap();
        let buried = js.get_stream("DEAD").await.unwrap().cached_info().state.messages;
        assert_eq!(buried, forged.len() as u64);
    })
    .await;
}
