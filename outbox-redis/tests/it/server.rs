//! What is special about Redis: its memory, its files, its replicas, its users.

use outbox_conformance::Proxy;
use outbox_core::{
    EnvelopeMode, Headers, OutboxMessage, PublishError, PublishErrorKind, Severity, Topic, Transport,
};
use outbox_redis::{RedisMode, RedisTransport, decode_element, decode_entry};
use redis::AsyncCommands as _;

use crate::fixture::{client, on_a_server, order};

fn messages(topic: &str, count: usize) -> Vec<OutboxMessage> {
    let message = |n| OutboxMessage::bytes(topic, format!("m{n}")).unwrap().build().unwrap();
    (0..count).map(message).collect()
}

fn kinds(results: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(PublishError::kind)).collect()
}

async fn transport(url: &str) -> RedisTransport {
    RedisTransport::connect(url).await.unwrap()
}

#[tokio::test]
async fn strict_refuses_a_server_that_would_lose_messages() {
    for (options, reason) in [
        (&["--appendonly", "no"][..], "appendonly"),
        (&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], "allkeys-lru"),
    ] {
        on_a_server(options, async |_server, url| {
            let lax = transport(&url).await;
            assert_eq!(kinds(&lax.publish(&messages("t", 1)).await), [None]);
            let strict = transport(&format!("{url}?strict=true")).await;
            let refused = strict.publish(&messages("t", 2)).await;
            assert_eq!(kinds(&refused), [Some(PublishErrorKind::Unavailable); 2]);
            let text = refused[0].as_ref().unwrap_err().to_string();
            assert!(text.contains("strict=true"), "{text}");
            let found = strict.diagnose(&[]).await;
            let named = |finding: &outbox_core::Finding| {
                finding.severity == Severity::Warning && finding.to_string().contains(reason)
            };
            assert!(found.iter().any(named), "{found:?}");
        })
        .await;
    }
    on_a_server(&[], async |_server, url| {
        let strict = transport(&format!("{url}?strict=true")).await;
        assert_eq!(kinds(&strict.publish(&messages("t", 1)).await), [None], "this one is as it should be");
    })
    .await;
}

#[tokio::test]
async fn a_full_server_is_retried_until_there_is_room() {
    on_a_server(&[], async |_server, url| {
        let redis = transport(&url).await;
        assert_eq!(kinds(&redis.publish(&messages("t", 1)).await), [None]);
        let mut admin = client(&url).await.unwrap();
        order(&mut admin, "CONFIG SET maxmemory 1").await;
        let full = redis.publish(&messages("t", 3)).await;
        assert_eq!(kinds(&full), [Some(PublishErrorKind::Retryable); 3], "{full:?}");
        order(&mut admin, "CONFIG SET maxmemory 0").await;
        assert_eq!(kinds(&redis.publish(&messages("t", 3)).await), [None; 3]);
        let stored: usize = admin.xlen("t").await.unwrap();
        assert_eq!(stored, 4, "nothing of what was refused");
    })
    .await;
}

#[tokio::test]
async fn a_key_of_another_type_concerns_its_topic_alone() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let _: () = admin.set("taken", "x").await.unwrap();
        let redis = transport(&url).await;
        let batch = [messages("fine", 1), messages("taken", 1), messages("fine", 1)].concat();
        let results = redis.publish(&batch).await;
        assert_eq!(kinds(&results), [None, Some(PublishErrorKind::Retryable), None]);
        let topics = ["fine", "taken", "new"].map(|topic| Topic::new(topic).unwrap());
        let found = redis.diagnose(&topics).await;
        let of = |topic: &str| {
            let subject = format!("topic {topic}");
            found.iter().find(|finding| finding.subject == subject).unwrap().severity
        };
        assert_eq!(["fine", "taken", "new"].map(of), [Severity::Ok, Severity::Error, Severity::Warning]);
    })
    .await;
}

#[tokio::test]
async fn a_confirmation_that_was_cut_is_unknown_and_costs_one_copy_at_most() {
    on_a_server(&[], async |server, url| {
        let proxy = Proxy::to(server.port()).await;
        let redis = transport(&format!("redis://127.0.0.1:{}", proxy.port())).await;
        let mut admin = client(&url).await.unwrap();
        for round in 1..=5 {
            let batch = messages("cut", 20);
            proxy.cut_answers(true);
            let results = redis.publish(&batch).await;
            assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 20], "round {round}: {results:?}");
            redis.reset().await;
            proxy.cut_answers(false);
            assert_eq!(kinds(&redis.publish(&batch).await), [None; 20]);
            let stored: usize = admin.xlen("cut").await.unwrap();
            assert_eq!(stored, 40 * round, "each came twice, and no more often");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_does_not_answer_a_check_is_given_up() {
    on_a_server(&[], async |server, _url| {
        let proxy = Proxy::to(server.port()).await;
        let redis = transport(&format!("redis://127.0.0.1:{}?publish_timeout=1s", proxy.port())).await;
        assert_eq!(kinds(&redis.publish(&messages("t", 1)).await), [None]);
        proxy.black_hole(true);
        let error = redis.check().await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error}");
        proxy.black_hole(false);
        assert_eq!(kinds(&redis.publish(&messages("t", 1)).await), [None], "by another connection");
    })
    .await;
}

#[tokio::test]
async fn no_connection_outlives_its_reset_or_its_transport() {
    on_a_server(&[], async |server, _url| {
        let proxy = Proxy::to(server.port()).await;
        for _ in 0..10 {
            let redis = transport(&format!("redis://127.0.0.1:{}", proxy.port())).await;
            proxy.has_open(1).await;
            let stuck = messages("left", 10);
            {
                let mut call = std::pin::pin!(redis.publish(&stuck));
                let once =
                    std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)));
                assert!(once.await.is_pending());
            }
            redis.reset().await;
            proxy.has_open(0).await;
            assert_eq!(kinds(&redis.publish(&stuck).await), [None; 10]);
            // Nothing is unknown now, so there is nothing to cut.
            redis.reset().await;
            proxy.has_open(1).await;
            drop(redis);
            proxy.has_open(0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn replicas_are_waited_for() {
    on_a_server(&[], async |primary, url| {
        let alone = transport(&format!("{url}?wait=1&publish_timeout=1s")).await;
        let results = alone.publish(&messages("t", 2)).await;
        assert_eq!(kinds(&results), [Some(PublishErrorKind::Unknown); 2], "there is no replica: {results:?}");
        let port = primary.port().to_string();
        on_a_server(&["--replicaof", "127.0.0.1", &port], async |_replica, replica_url| {
            let both = transport(&format!("{url}?wait=1&publish_timeout=10s")).await;
            let mut tries = 0;
            // The replica connects when it is ready to.
            while kinds(&both.publish(&messages("t", 1)).await) != [None] {
                tries += 1;
                assert!(tries < 10);
            }
            let stored: usize = client(&replica_url).await.unwrap().xlen("t").await.unwrap();
            assert!(stored >= 1, "confirmed means that the replica has it");
            let wrong = transport(&replica_url).await;
            let refused = wrong.publish(&messages("t", 1)).await;
            assert_eq!(kinds(&refused), [Some(PublishErrorKind::Unavailable)], "{refused:?}");
            let address = |url: &str| url.replace("redis://", "");
            let any = transport(&format!("{replica_url},{}", address(&url))).await;
            assert_eq!(kinds(&any.publish(&messages("any", 3)).await), [None; 3], "the primary is found");
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_was_demoted_is_left_for_one_that_takes_messages() {
    on_a_server(&[], async |_old, old_url| {
        on_a_server(&[], async |new, new_url| {
            let both = transport(&format!("{old_url},127.0.0.1:{}", new.port())).await;
            assert_eq!(kinds(&both.publish(&messages("t", 2)).await), [None; 2]);
            let mut admin = client(&old_url).await.unwrap();
            order(&mut admin, &format!("REPLICAOF 127.0.0.1 {}", new.port())).await;
            let refused = both.publish(&messages("t", 2)).await;
            assert_eq!(kinds(&refused), [Some(PublishErrorKind::Unavailable); 2], "{refused:?}");
            assert_eq!(kinds(&both.publish(&messages("moved", 2)).await), [None; 2]);
            let stored: usize = client(&new_url).await.unwrap().xlen("moved").await.unwrap();
            assert_eq!(stored, 2);
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_larger_than_the_server_takes_is_refused_alone() {
    on_a_server(&["--proto-max-bulk-len", "1mb"], async |_server, url| {
        // As JSON text a payload is a third larger.
        for (mode, size) in [("stream", 1_048_577), ("list", 800_000)] {
            let redis = transport(&format!("{url}?mode={mode}")).await;
            let mut parts = messages("large", 1).remove(0).into_parts();
            parts.payload = vec![b'x'; size].into();
            let batch = [messages(mode, 1), vec![OutboxMessage::stored(parts)], messages(mode, 1)].concat();
            let results = redis.publish(&batch).await;
            assert_eq!(kinds(&results), [None, Some(PublishErrorKind::Rejected), None], "{results:?}");
            let text = results[1].as_ref().unwrap_err().to_string();
            assert!(text.contains("1048576 (proto-max-bulk-len)"), "{text}");
        }
        // All of it is larger than the limit, and no value is.
        let mut parts = messages("large", 1).remove(0).into_parts();
        parts.payload = vec![b'x'; 1_000_000].into();
        parts.headers = Headers::from_json(&format!("{{\"tenant\":\"{}\"}}", "x".repeat(49_000))).unwrap();
        let batch = [OutboxMessage::stored(parts)];
        for parameters in ["prefix=s.&mode=stream", "prefix=l.&mode=list&envelope=raw"] {
            let redis = transport(&format!("{url}?{parameters}")).await;
            assert_eq!(kinds(&redis.publish(&batch).await), [None], "{parameters}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_lags_behind_is_shown() {
    on_a_server(&[], async |_server, url| {
        let redis = transport(&url).await;
        let mut admin = client(&url).await.unwrap();
        order(&mut admin, "XGROUP CREATE t billing 0 MKSTREAM").await;
        assert_eq!(kinds(&redis.publish(&messages("t", 5)).await), [None; 5]);
        order(&mut admin, "XREADGROUP GROUP billing c COUNT 2 STREAMS t >").await;
        let found = redis.diagnose(&[Topic::new("t").unwrap()]).await;
        let group = found.iter().find(|finding| finding.subject == "group billing of topic t");
        assert_eq!(group.unwrap().detail, "3 entries behind, 2 unsettled, 1 members");
    })
    .await;
}

#[tokio::test]
async fn a_user_without_permission_is_told_so() {
    let acl = ["--user", "app", "on", ">secret", "~shop.*", "+xadd"];
    on_a_server(&acl, async |_server, url| {
        let as_app = |password: &str| url.replace("redis://", &format!("redis://app:{password}@"));
        let redis = transport(&as_app("secret")).await;
        let batch = [messages("shop.orders", 1), messages("other", 1)].concat();
        let results = redis.publish(&batch).await;
        assert_eq!(kinds(&results), [None, Some(PublishErrorKind::Retryable)], "{results:?}");
        let strict = transport(&format!("{}?strict=true", as_app("secret"))).await;
        let error = strict.publish(&batch).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert!(error.to_string().contains("INFO is forbidden"), "{error}");
        let wrong = transport(&as_app("c4nary")).await;
        let error = wrong.publish(&batch).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("c4nary"));
    })
    .await;
}

#[tokio::test]
async fn a_consumer_decodes_what_was_published() {
    on_a_server(&[], async |_server, url| {
        let message = OutboxMessage::json("orders", &["x"])
            .unwrap()
            .ordering_key("order-7")
            .event_type("OrderPlaced")
            .header("tenant", " acme ")
            .build()
            .unwrap();
        let mut admin = client(&url).await.unwrap();
        let all = std::slice::from_ref(&message);
        assert_eq!(kinds(&transport(&format!("{url}?prefix=s:")).await.publish(all).await), [None]);
        let found: redis::streams::StreamRangeReply = admin.xrange_all("s:orders").await.unwrap();
        let fields: Vec<(String, Vec<u8>)> = found.ids[0]
            .map
            .iter()
            .map(|(name, value)| (name.clone(), redis::from_redis_value(value.clone()).unwrap()))
            .collect();
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        assert_eq!(decode_entry("orders", fields).unwrap(), message);

        let config: outbox_redis::RedisConfig = format!("{url}?prefix=l:").parse().unwrap();
        let list = RedisTransport::new(config.clone().mode(RedisMode::List)).unwrap();
        assert_eq!(kinds(&list.publish(all).await), [None]);
        let element: Vec<u8> = admin.lpop("l:orders", None).await.unwrap();
        assert_eq!(decode_element("orders", &element).unwrap(), message);

        let raw = RedisTransport::new(config.mode(RedisMode::List).envelope(EnvelopeMode::Raw)).unwrap();
        assert_eq!(kinds(&raw.publish(all).await), [None]);
        let element: Vec<u8> = admin.lpop("l:orders", None).await.unwrap();
        assert_eq!(element, b"[\"x\"]", "what a job runner reads");
    })
    .await;
}
