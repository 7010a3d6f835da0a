//! What is special about Redis on the receiving side: entries that are trimmed, commands that are carried out late.

use std::time::Duration;

use outbox_conformance::Proxy;
use outbox_core::{Delivery, OutboxMessage, SubscribeErrorKind, Subscription, Transport};
use outbox_redis::{RedisSubscription, RedisTransport};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamInfoConsumersReply, StreamPendingReply};
use tokio::time::{Instant, timeout};

use crate::fixture::{client, on_a_server, order};

const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_millis(700);

async fn member(url: &str, parameters: &str) -> RedisSubscription {
    let url = format!("{url}?group=g&topics=t&redeliver_after=1s&connect_timeout=1s{parameters}");
    RedisSubscription::connect(&url).await.unwrap()
}

async fn publish(url: &str, mode: &str, topic: &str, count: usize) {
    let transport = RedisTransport::connect(&format!("{url}?mode={mode}")).await.unwrap();
    let message = |n| OutboxMessage::bytes(topic, format!("m{n}")).unwrap().build().unwrap();
    let messages: Vec<OutboxMessage> = (0..count).map(message).collect();
    for result in transport.publish(&messages).await {
        result.unwrap();
    }
}

async fn next(member: &mut RedisSubscription) -> Delivery {
    timeout(PATIENCE, member.next()).await.expect("nothing arrives").unwrap()
}

async fn take(member: &mut RedisSubscription, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let delivery = next(member).await;
        taken.push(payload(&delivery));
        delivery.ack().await.unwrap();
    }
    taken
}

async fn silent(member: &mut RedisSubscription) {
    if let Ok(arrived) = timeout(SILENCE, member.next()).await {
        panic!("nothing was to arrive, and there is {arrived:?}");
    }
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message().unwrap().payload().to_vec()).unwrap()
}

async fn consumers(admin: &mut MultiplexedConnection) -> Vec<String> {
    let found: StreamInfoConsumersReply = admin.xinfo_consumers("t", "g").await.unwrap();
    found.consumers.into_iter().map(|consumer| consumer.name).collect()
}

async fn pending(admin: &mut MultiplexedConnection) -> usize {
    admin.xpending::<_, _, StreamPendingReply>("t", "g").await.unwrap().count()
}

/// The ids of what is pending, and for whom.
async fn holders(admin: &mut MultiplexedConnection) -> Vec<(String, String)> {
    let found: Vec<(String, String, u64, u64)> =
        redis::cmd("XPENDING").arg("t").arg("g").arg("-").arg("+").arg(100).query_async(admin).await.unwrap();
    found.into_iter().map(|(id, holder, ..)| (id, holder)).collect()
}

/// An entry with the payload `odd`, and with a name that is no text.
async fn add_odd(admin: &mut MultiplexedConnection) {
    let mut add = redis::cmd("XADD");
    add.arg("t").arg("*").arg(b"\xff").arg(b"\xfe").arg("payload").arg("odd").arg("a").arg("b");
    let _: String = add.query_async(admin).await.unwrap();
}

async fn until<Fut: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Fut) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_trimmed_before_it_is_settled_stands_in_nobodys_way() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let mut first = member(&url, "").await;
        publish(&url, "stream", "t", 5).await;
        let (held, handed_back) = (next(&mut first).await, next(&mut first).await);
        order(&mut admin, "XTRIM t MAXLEN 0").await;
        handed_back.nack(Duration::ZERO).await.unwrap();
        publish(&url, "stream", "t", 2).await;
        // Three were read ahead before they were trimmed.
        assert_eq!(take(&mut first, 5).await, ["m2", "m3", "m4", "m0", "m1"]);
        // As a process that is killed.
        drop((held, first));
        let mut second = member(&url, "").await;
        publish(&url, "stream", "t", 1).await;
        assert_eq!(take(&mut second, 1).await, ["m0"]);
        until("what was trimmed stays pending", || async {
            pending(&mut client(&url).await.unwrap()).await == 0
        })
        .await;
        silent(&mut second).await;
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_is_no_text_keeps_back_nothing() {
    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        publish(&url, "stream", "t", 2).await;
        add_odd(&mut admin).await;
        publish(&url, "stream", "t", 2).await;
        let mut first = member(&url, "&redeliver_after=30s").await;
        let mut held = Vec::new();
        // It is read, handed out again, and taken over by another member.
        for _ in 0..2 {
            held.push(next(&mut first).await);
        }
        next(&mut first).await.nack(Duration::ZERO).await.unwrap();
        for _ in 0..3 {
            held.push(next(&mut first).await);
        }
        assert_eq!(held.iter().filter(|delivery| delivery.message().is_err()).count(), 1);
        // As a process that is killed.
        drop((held, first));
        let mut second = member(&url, "").await;
        let mut found = Vec::new();
        for _ in 0..5 {
            let delivery = next(&mut second).await;
            match delivery.message().map_err(|odd| odd.payload.clone()) {
                Ok(_) => {
                    found.push(payload(&delivery));
                    delivery.ack().await.unwrap();
                }
                Err(odd) => {
                    assert_eq!((&odd[..], delivery.attempt()), (&b"odd"[..], Some(3)));
                    delivery.dead_letter("poison").await.unwrap();
                }
            }
        }
        assert_eq!(found, ["m0", "m1", "m0", "m1"]);
        assert_eq!(pending(&mut admin).await, 0);
        silent(&mut second).await;
        let dead: Vec<(String, Fields)> =
            redis::cmd("XRANGE").arg("g.dead").arg("-").arg("+").query_async(&mut admin).await.unwrap();
        let expected: [(&[u8], &[u8]); 6] = [
            (b"\xff", b"\xfe"),
            (b"payload", b"odd"),
            (b"a", b"b"),
            (b"outbox-dead-reason", b"poison"),
            (b"outbox-dead-group", b"g"),
            (b"outbox-dead-topic", b"t"),
        ];
        let fields: Vec<(&[u8], &[u8])> = dead[0].1.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!((dead.len(), &*fields), (1, &expected[..]));
    })
    .await;
}

#[tokio::test]
async fn what_is_handed_back_late_stays_with_the_member_that_has_it_by_now() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let mut first = member(&url, "&redeliver_after=30s").await;
        publish(&url, "stream", "t", 2).await;
        let (late, ours) = (next(&mut first).await, next(&mut first).await);
        let held = holders(&mut admin).await;
        // As if it had been idle for too long.
        order(&mut admin, &format!("XCLAIM t g other 0 {}", held[0].0)).await;
        late.nack(Duration::ZERO).await.unwrap();
        ours.nack(Duration::ZERO).await.unwrap();
        // The member asks for both of them, in this order.
        let again = next(&mut first).await;
        assert_eq!((payload(&again), again.attempt()), ("m1".to_owned(), Some(2)));
        assert_eq!(holders(&mut admin).await, [(held[0].0.clone(), "other".to_owned()), held[1].clone()]);
        again.ack().await.unwrap();
        silent(&mut first).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_gave_up_waiting_takes_nothing_along() {
    for mode in ["stream", "list"] {
        on_a_server(&[], async |_server, url| {
            let parameters = format!("&mode={mode}");
            let mut first = member(&url, &parameters).await;
            silent(&mut first).await;
            // Nobody calls `next` of the first one, whose command still waits at the server.
            publish(&url, mode, "t", 1).await;
            drop(first);
            publish(&url, mode, "t", 1).await;
            let mut second = member(&url, &parameters).await;
            take(&mut second, 2).await;
            silent(&mut second).await;
        })
        .await;
    }
}

#[tokio::test]
async fn what_waits_in_a_member_is_not_taken_for_abandoned() {
    on_a_server(&[], async |_server, url| {
        let mut first = member(&url, "").await;
        publish(&url, "stream", "t", 5).await;
        let mut working = next(&mut first).await;
        let mut second = member(&url, "").await;
        // Three times as long as nobody may be silent.
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            working.extend().await.unwrap();
            silent(&mut second).await;
        }
        working.ack().await.unwrap();
        for n in 1..5 {
            let delivery = next(&mut first).await;
            assert_eq!((payload(&delivery), delivery.attempt()), (format!("m{n}"), Some(1)));
            delivery.ack().await.unwrap();
        }
        silent(&mut first).await;
    })
    .await;
}

#[tokio::test]
async fn a_member_that_leaves_is_forgotten_when_it_has_nothing() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let mut first = member(&url, "").await;
        publish(&url, "stream", "t", 3).await;
        let held = next(&mut first).await;
        take(&mut first, 2).await;
        first.close(PATIENCE).await.unwrap();
        assert_eq!(consumers(&mut admin).await.len(), 1, "with it would go what is pending for it");
        drop(held);
        let mut second = member(&url, "").await;
        assert_eq!(take(&mut second, 1).await, ["m0"]);
        second.close(PATIENCE).await.unwrap();
        assert_eq!(consumers(&mut admin).await.len(), 1);
        assert_eq!(pending(&mut admin).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_late_command_of_a_member_that_left_loses_nothing() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let mut first = member(&url, "&mode=list").await;
        silent(&mut first).await;
        let members: Vec<String> = admin.zrange("t:members", 0, -1).await.unwrap();
        first.close(PATIENCE).await.unwrap();
        publish(&url, "list", "t", 2).await;
        // What the server carries out when it gets round to it.
        order(&mut admin, &format!("LMOVE t t:processing:{} RIGHT LEFT", members[0])).await;
        let mut second = member(&url, "&mode=list").await;
        let mut found = take(&mut second, 2).await;
        found.sort();
        assert_eq!(found, ["m0", "m1"]);
        second.close(PATIENCE).await.unwrap();
        let left: Vec<String> = admin.keys("t*").await.unwrap();
        assert_eq!(left, ["t:members"], "neither elements nor counts");
    })
    .await;
}

#[tokio::test]
async fn the_hands_of_a_member_that_was_frozen_are_not_its_own_any_more() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        // Its one place is taken, so it will not take the element a second time itself.
        let mut first = member(&url, "&mode=list&redeliver_after=30s&prefetch=1").await;
        publish(&url, "list", "t", 1).await;
        let mut delivery = next(&mut first).await;
        delivery.extend().await.unwrap();
        // As if it had not been heard of for long.
        let members: Vec<String> = admin.zrange("t:members", 0, -1).await.unwrap();
        order(&mut admin, &format!("ZADD t:members 0 {}", members[0])).await;
        let mut second = member(&url, "&mode=list&redeliver_after=30s").await;
        let again = next(&mut second).await;
        assert_eq!((payload(&again), again.attempt()), ("m0".to_owned(), Some(2)));
        assert_eq!(delivery.extend().await.unwrap_err().kind(), SubscribeErrorKind::Stale);
        assert_eq!(delivery.ack().await.unwrap_err().kind(), SubscribeErrorKind::Stale);
        again.ack().await.unwrap();
        silent(&mut second).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_named_and_read_anew() {
    on_a_server(&[], async |_server, url| {
        let mut admin = client(&url).await.unwrap();
        let mut reader = member(&url, "").await;
        publish(&url, "stream", "t", 1).await;
        take(&mut reader, 1).await;
        order(&mut admin, "DEL t").await;
        let error = timeout(PATIENCE, reader.next()).await.expect("it says nothing").unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Missing, "{error}");
        publish(&url, "stream", "t", 2).await;
        assert_eq!(take(&mut reader, 2).await, ["m0", "m1"]);
        order(&mut admin, "DEL t").await;
        order(&mut admin, "SET t x").await;
        let error = reader.check().await.unwrap_err();
        assert_eq!(error.kind(), SubscribeErrorKind::Refused);
        assert!(error.to_string().starts_with("the key \"t\" is a string, not a stream"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_busy_topic_does_not_keep_the_others_waiting() {
    for mode in ["stream", "list"] {
        on_a_server(&[], async |_server, url| {
            publish(&url, mode, "t", 40).await;
            publish(&url, mode, "rare", 1).await;
            let parameters = format!("group=g&topics=t,rare&prefetch=2&mode={mode}");
            let mut reader = RedisSubscription::connect(&format!("{url}?{parameters}")).await.unwrap();
            let mut before = 0;
            loop {
                let delivery = next(&mut reader).await;
                let topic = delivery.message().unwrap().topic().to_string();
                delivery.ack().await.unwrap();
                if topic == "rare" {
                    break;
                }
                before += 1;
            }
            assert!(before <= 10, "{before} of {mode} t came before it");
        })
        .await;
    }
}

#[tokio::test]
async fn a_silent_network_is_noticed_and_survived() {
    for mode in ["stream", "list"] {
        on_a_server(&[], async |server, url| {
            let proxy = Proxy::to(server.port()).await;
            let through = format!("redis://127.0.0.1:{}", proxy.port());
            let mut reader = member(&through, &format!("&mode={mode}")).await;
            publish(&url, mode, "t", 1).await;
            take(&mut reader, 1).await;
            proxy.black_hole(true);
            // Not only the question is given up, also the connection that swallows it.
            let mut text = String::new();
            while !text.contains("can't be reached") {
                let error = timeout(PATIENCE, reader.next()).await.expect("it says nothing").unwrap_err();
                assert_eq!(error.kind(), SubscribeErrorKind::Unavailable, "{error}");
                text = error.to_string();
            }
            publish(&url, mode, "t", 3).await;
            proxy.black_hole(false);
            let mut missing = vec!["m0".to_owned(), "m1".to_owned(), "m2".to_owned()];
            while !missing.is_empty() {
                if let Ok(delivery) = timeout(PATIENCE, reader.next()).await.expect("nothing arrives") {
                    missing.retain(|other| *other != payload(&delivery));
                    delivery.ack().await.unwrap();
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_full_server_can_be_emptied() {
    for mode in ["stream", "list"] {
        on_a_server(&[], async |_server, url| {
            let mut admin = client(&url).await.unwrap();
            let mut first = member(&url, &format!("&mode={mode}")).await;
            publish(&url, mode, "t", 20).await;
            take(&mut first, 2).await;
            order(&mut admin, "CONFIG SET maxmemory 1").await;
            let handed_back = next(&mut first).await;
            handed_back.nack(Duration::ZERO).await.unwrap();
            let mut found = take(&mut first, 10).await;
            // Another one, to whom the rest is left.
            first.close(PATIENCE).await.unwrap();
            let mut second = member(&url, &format!("&mode={mode}")).await;
            found.extend(take(&mut second, 8).await);
            found.sort();
            let mut expected: Vec<String> = (2..20).map(|n| format!("m{n}")).collect();
            expected.sort();
            assert_eq!(found, expected);
            silent(&mut second).await;
        })
        .await;
    }
}

#[tokio::test]
async fn what_the_dead_letters_refuse_is_not_gone() {
    for mode in ["stream", "list"] {
        on_a_server(&[], async |_server, url| {
            let mut admin = client(&url).await.unwrap();
            let mut reader = member(&url, &format!("&mode={mode}")).await;
            publish(&url, mode, "t", 1).await;
            order(&mut admin, "SET g.dead x").await;
            let error = next(&mut reader).await.dead_letter("poison").await.unwrap_err();
            assert_eq!(error.kind(), SubscribeErrorKind::Refused, "{error}");
            reader.close(PATIENCE).await.unwrap();
            let mut second = member(&url, &format!("&mode={mode}")).await;
            order(&mut admin, "DEL g.dead").await;
            let again = next(&mut second).await;
            assert_eq!((payload(&again), again.attempt()), ("m0".to_owned(), Some(2)));
            again.dead_letter("poison").await.unwrap();
            silent(&mut second).await;
            // They can be read like any other topic, and given up once more.
            let dead = format!("{url}?group=undertaker&topics=g.dead&mode={mode}");
            let mut undertaker = RedisSubscription::connect(&dead).await.unwrap();
            let delivery = next(&mut undertaker).await;
            assert_eq!(payload(&delivery), "m0");
            delivery.dead_letter("still").await.unwrap();
            let twice = format!("{url}?group=x&topics=undertaker.dead&mode={mode}");
            let mut twice = RedisSubscription::connect(&twice).await.unwrap();
            assert_eq!(take(&mut twice, 1).await, ["m0"]);
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_left_comes_before_what_is_new() {
    on_a_server(&[], async |_server, url| {
        let mut first = member(&url, "&prefetch=4").await;
        publish(&url, "stream", "t", 12).await;
        assert_eq!(take(&mut first, 2).await, ["m0", "m1"]);
        // Holding one, so that the others are left, too.
        let held = next(&mut first).await;
        first.close(PATIENCE).await.unwrap();
        drop(held);
        let mut second = member(&url, "&prefetch=4").await;
        let rest: Vec<String> = (2..12).map(|n| format!("m{n}")).collect();
        assert_eq!(take(&mut second, 10).await, rest);
    })
    .await;
}

#[tokio::test]
async fn what_was_left_does_not_wait_for_the_end_of_a_busy_stream() {
    const LEFT: usize = 20;
    on_a_server(&[], async |_server, url| {
        let mut first = member(&url, &format!("&prefetch={LEFT}")).await;
        publish(&url, "stream", "t", LEFT).await;
        let held = next(&mut first).await;
        until("it has read them all", || async { pending(&mut client(&url).await.unwrap()).await == LEFT })
            .await;
        // As a process that is killed.
        drop((held, first));
        let mut second = member(&url, "&prefetch=4").await;
        let (mut again, mut between) = (0, 0);
        while again < LEFT {
            publish(&url, "stream", "t", 100).await;
            for _ in 0..100 {
                let delivery = next(&mut second).await;
                if delivery.attempt() == Some(2) {
                    again += 1;
                } else if again > 0 {
                    between += 1;
                }
                delivery.ack().await.unwrap();
            }
        }
        // What was read ahead when the first of them came, and a little for each time that nothing was left for a moment.
        assert!(between < 100 + LEFT, "{between} new ones came before the last of {LEFT}");
    })
    .await;
}
