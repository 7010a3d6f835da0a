use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox_core::{DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, dead_reason};

use crate::codec::ROUTING_HEADERS;

type With = fn(BasicProperties, ShortString) -> BasicProperties;

/// Those of the delivery, with the reason, and without what would act on the dead letter itself: the expiration, with
/// which it would vanish; the user, whom the broker compares with ours; and the headers by which it sends copies.
pub(super) fn properties(
    delivered: &BasicProperties,
    topic: &str,
    group: &str,
    reason: &str,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in delivered.headers().iter().flat_map(FieldTable::inner) {
        if !ROUTING_HEADERS.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in
        [(DEAD_REASON_HEADER, &*dead_reason(reason)), (DEAD_GROUP_HEADER, group), (DEAD_TOPIC_HEADER, topic)]
    {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let mut properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    let kept: [(_, With); 7] = [
        (delivered.content_type(), BasicProperties::with_content_type),
        (delivered.content_encoding(), BasicProperties::with_content_encoding),
        (delivered.correlation_id(), BasicProperties::with_correlation_id),
        (delivered.reply_to(), BasicProperties::with_reply_to),
        (delivered.message_id(), BasicProperties::with_message_id),
        (delivered.kind(), BasicProperties::with_type),
        (delivered.app_id(), BasicProperties::with_app_id),
    ];
    for (value, with) in kept {
        if let Some(value) = value {
            properties = with(properties, value.clone());
        }
    }
    if let Some(priority) = *delivered.priority() {
        properties = properties.with_priority(priority);
    }
    if let Some(time) = *delivered.timestamp() {
        properties = properties.with_timestamp(time);
    }
    properties
}
