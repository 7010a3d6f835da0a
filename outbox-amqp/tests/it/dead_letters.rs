//! A dead letter is where it can be read, and nothing that came with the message takes it away.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, Channel};
use outbox_amqp::AmqpSubscription;
use outbox_conformance::started;
use outbox_core::{SubscribeErrorKind, Subscription};

use crate::cases::{ctl, on_a_node};
use crate::fixture::{client, delete, queue, shared_url, unique};

async fn publish(channel: &Channel, queue: &str, properties: BasicProperties) {
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let confirm =
        channel.basic_publish("".into(), queue.into(), options, b"no json", properties).await.unwrap();
    assert!(confirm.await.unwrap().take_message().is_none());
}

pub(crate) async fn count(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

#[tokio::test]
async fn what_would_harm_a_dead_letter_is_left_behind() {
    on_a_node("", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        for name in ["jobs", "copies", "blind"] {
            queue(&channel, name, FieldTable::default()).await;
        }
        ctl(&server, &["add_user", "worker", "pw"]).await;
        ctl(&server, &["set_permissions", "worker", ".*", ".*", ".*"]).await;
        let mut headers = FieldTable::default();
        for (name, queue) in [("CC", "copies"), ("BCC", "blind")] {
            let queues = FieldArray::from(vec![AMQPValue::LongString(queue.into())]);
            headers.insert(name.into(), AMQPValue::FieldArray(queues));
        }
        headers.insert("mine".into(), AMQPValue::LongInt(7));
        let properties = BasicProperties::default()
            .with_user_id("guest".into())
            .with_expiration("60000".into())
            .with_priority(3)
            .with_reply_to("answers".into())
            .with_content_type("text/plain".into())
            .with_timestamp(1_700_000_000)
            .with_headers(headers);
        publish(&channel, "jobs", properties).await;
        assert_eq!((count(&channel, "copies").await, count(&channel, "blind").await), (1, 1));

        let url_of_worker = url.replace("guest:guest", "worker:pw");
        let url_of_worker = format!("{url_of_worker}?group=g&topics=jobs&create=true&queue_type=classic");
        let mut subscription = AmqpSubscription::connect(&url_of_worker).await.unwrap();
        subscription.next().await.unwrap().dead_letter("no use").await.unwrap();
        subscription.close(Duration::from_secs(10)).await.unwrap();
        assert_eq!(count(&channel, "jobs").await, 0);
        let got = channel.basic_get("g.dead".into(), BasicGetOptions::default()).await.unwrap().unwrap();
        assert_eq!(got.data, b"no json");
        let found = &got.properties;
        assert!(found.expiration().is_none() && found.user_id().is_none(), "{found:?}");
        assert_eq!((*found.priority(), *found.delivery_mode()), (Some(3), Some(2)));
        assert_eq!(*found.timestamp(), Some(1_700_000_000));
        let short = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        assert_eq!(short(found.reply_to()).as_deref(), Some("answers"));
        assert_eq!(short(found.content_type()).as_deref(), Some("text/plain"));
        let headers = found.headers().clone().unwrap();
        assert_eq!(headers.inner().get("mine"), Some(&AMQPValue::LongInt(7)));
        assert!(!headers.contains_key("CC") && !headers.contains_key("BCC"), "{headers:?}");
        assert!(headers.contains_key("outbox-dead-reason"), "{headers:?}");
        assert_eq!(
            (count(&channel, "copies").await, count(&channel, "blind").await),
            (1, 1),
            "no second copies"
        );
    })
    .await;
}

#[tokio::test]
async fn without_a_queue_for_dead_letters_the_message_stays() {
    let (url, name) = (shared_url(), unique());
    let Some((_connection, channel)) = started("RabbitMQ", client(&url).await) else { return };
    let url_of_group = format!("{url}?group={name}&topics={name}&create=true&queue_type=classic");
    let mut subscription = AmqpSubscription::connect(&url_of_group).await.unwrap();
    publish(&channel, &name, BasicProperties::default()).await;
    let delivery = subscription.next().await.unwrap();
    let dead = format!("{name}.dead");
    channel.queue_delete(dead.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let missing = delivery.dead_letter("no use").await.unwrap_err();
    assert_eq!(missing.kind(), SubscribeErrorKind::Missing, "{missing}");
    assert!(missing.to_string().contains(&dead), "{missing}");
    subscription.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(count(&channel, &name).await, 1, "it comes again");
    delete(&url, &[], &[&name, &dead]).await;
}

/// Servers from 4.0 on have a limit of 20 by themselves, and delete what exceeds it where nobody says where it goes.
#[tokio::test]
async fn what_the_server_gives_up_is_not_deleted() {
    let (url, name) = (shared_url(), unique());
    let Some((_connection, channel)) = started("RabbitMQ", client(&url).await) else { return };
    let dead = format!("{name}.dead");
    let url_of_group = format!("{url}?group={name}&topics={name}&create=true");
    let mut subscription = AmqpSubscription::connect(&url_of_group).await.unwrap();
    subscription.close(Duration::from_secs(10)).await.unwrap();
    publish(&channel, &name, BasicProperties::default()).await;
    let taken = channel.basic_get(name.as_str().into(), BasicGetOptions::default()).await.unwrap();
    // What the server does by itself when its limit is reached.
    let refused = BasicNackOptions { multiple: false, requeue: false };
    assert!(taken.unwrap().delivery.acker.nack(refused).await.unwrap());
    while count(&channel, &dead).await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count(&channel, &name).await, 0);
    delete(&url, &[], &[&name, &dead]).await;
}
