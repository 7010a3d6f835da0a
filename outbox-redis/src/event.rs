use std::borrow::Cow;
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outbox_core::{
    DecodeError, Envelope, EnvelopeMode, Headers, Limits, MessageError, MessageId, OrderingKey,
    OutboxMessage, StoredParts,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message as an entry of a list: CloudEvents' JSON format.
///
/// Names of extensions are lower-case letters, as the specification wants them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    time: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    partitionkey: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    aggregatetype: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    schemaversion: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    correlationid: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    outboxheaders: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) outboxdeadreason: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) outboxdeadgroup: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(crate) outboxdeadtopic: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    data_base64: Option<Cow<'a, str>>,
}

/// The entry of a list for a message.
pub(crate) fn element<'a>(
    message: &'a OutboxMessage,
    envelope: &Envelope,
) -> Result<Cow<'a, [u8]>, MessageError> {
    message.check(&Limits::without_sizes())?;
    let payload = &message.payload()[..];
    if envelope.mode() == EnvelopeMode::Raw {
        return Ok(Cow::Borrowed(payload));
    }
    let version = message.schema_version().to_string();
    let id = message.id().to_string();
    let data = as_json(message);
    let event = Event {
        specversion: "1.0".into(),
        id: id.into(),
        source: envelope.source().into(),
        kind: message.event_type().into(),
        subject: message.aggregate_id().map(Into::into),
        time: message.created_at().and_then(time).map(Into::into),
        datacontenttype: Some(message.content_type().into()),
        partitionkey: message.ordering_key().map(|key| key.as_str().into()),
        aggregatetype: message.aggregate_type().map(Into::into),
        schemaversion: Some(version.into()),
        correlationid: message.correlation_id().map(Into::into),
        outboxheaders: (!message.headers().is_empty()).then(|| message.headers().to_json().into()),
        outboxdeadreason: None,
        outboxdeadgroup: None,
        outboxdeadtopic: None,
        data,
        data_base64: data.is_none().then(|| STANDARD.encode(payload).into()),
    };
    let json = serde_json::to_vec(&event).map_err(MessageError::Serialize)?;
    Ok(Cow::Owned(json))
}

/// The payload as it is, if it is JSON and says so, and stays the same byte for byte inside of other JSON.
fn as_json(message: &OutboxMessage) -> Option<&RawValue> {
    let media = message.content_type().split(';').next().unwrap_or_default().trim();
    if !(media.eq_ignore_ascii_case("application/json") || media.to_ascii_lowercase().ends_with("+json")) {
        return None;
    }
    let text = std::str::from_utf8(message.payload()).ok()?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    // White space around a value is not part of it, and a null can't be told from a value that is missing.
    (raw.get().len() == text.len() && text != "null").then_some(raw)
}

/// Reads an entry of a list that [`RedisTransport`](crate::RedisTransport) has written with `mode=list`, for a consumer
/// with a client of its own. `topic` is the key of the list, without the prefix.
///
/// # Errors
///
/// [`DecodeError`] if it is not one.
pub fn decode_element(topic: &str, element: &[u8]) -> Result<OutboxMessage, DecodeError> {
    let malformed = |problem: String| DecodeError::MalformedBody { problem };
    let event: Event<'_> = serde_json::from_slice(element).map_err(|error| malformed(error.to_string()))?;
    let payload = match (event.data, event.data_base64) {
        (Some(data), _) => Bytes::copy_from_slice(data.get().as_bytes()),
        (None, Some(text)) => {
            let decoded = STANDARD.decode(&*text);
            Bytes::from(decoded.map_err(|error| malformed(format!("data_base64: {error}")))?)
        }
        (None, None) => Bytes::new(),
    };
    let mut parts = StoredParts::new(MessageId::from_str(&event.id)?, topic, payload);
    let text = |text: Option<Cow<'_, str>>| text.map(|text| Box::from(&*text));
    parts.ordering_key = event.partitionkey.map(|key| OrderingKey::stored(&key));
    parts.event_type = Some(&*event.kind).filter(|kind| *kind != topic).map(Into::into);
    parts.aggregate_type = text(event.aggregatetype);
    parts.aggregate_id = text(event.subject);
    parts.correlation_id = text(event.correlationid);
    parts.created_at = event.time.and_then(|time| humantime::parse_rfc3339(&time).ok());
    parts.content_type = text(event.datacontenttype).unwrap_or(parts.content_type);
    if let Some(version) = event.schemaversion {
        let malformed = |_| DecodeError::MalformedHeader { header: "schemaversion" };
        parts.schema_version = version.parse().map_err(malformed)?;
    }
    if let Some(headers) = event.outboxheaders {
        parts.headers = Headers::from_json(&headers)?;
    }
    let message = OutboxMessage::stored(parts);
    message.check(&Limits::without_sizes())?;
    Ok(message)
}

/// An element that is given up: the same event with three more attributes, or, if it is none, its bytes and these.
#[cfg(feature = "subscription")]
pub(crate) fn buried(element: &[u8], reason: &str, group: &str, topic: &str) -> Vec<u8> {
    let reason = outbox_core::dead_reason(reason);
    if let Ok(mut event) = serde_json::from_slice::<Event<'_>>(element) {
        event.outboxdeadreason = Some(Cow::Borrowed(&*reason));
        event.outboxdeadgroup = Some(group.into());
        event.outboxdeadtopic = Some(topic.into());
        if let Ok(json) = serde_json::to_vec(&event) {
            return json;
        }
    }
    let foreign = serde_json::json!({
        "outboxdeadreason": reason,
        "outboxdeadgroup": group,
        "outboxdeadtopic": topic,
        "data_base64": STANDARD.encode(element),
    });
    foreign.to_string().into_bytes()
}

/// `None` outside the years 1970 to 9999, which the format can't write.
fn time(time: std::time::SystemTime) -> Option<String> {
    use std::fmt::Write as _;

    time.duration_since(std::time::UNIX_EPOCH).ok()?;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_nanos(time)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use outbox_core::EnvelopeNames;

    fn envelope() -> Envelope {
        Envelope::new(EnvelopeNames::HYPHEN)
    }

    fn stored(change: impl FnOnce(&mut StoredParts)) -> OutboxMessage {
        let mut parts = StoredParts::new(MessageId::new(), "jobs", Bytes::from_static(b"x"));
        change(&mut parts);
        OutboxMessage::stored(parts)
    }

    #[test]
    fn what_is_written_is_read_back_byte_for_byte() {
        let json = |payload: &'static str| {
            stored(|parts| {
                parts.content_type = "application/json".into();
                parts.payload = payload.into();
                parts.ordering_key = Some(OrderingKey::stored("k"));
                parts.event_type = Some("JobDue".into());
                parts.aggregate_type = Some("job".into());
                parts.aggregate_id = Some("7".into());
                parts.correlation_id = Some("c".into());
                parts.schema_version = 3;
                parts.headers = Headers::from_json("{\"tenant\":\"a \\\"b\\\"\"}").unwrap();
                parts.created_at = Some(UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
            })
        };
        for message in [
            json("{\"a\": 1.50, \"b\" : [ ] }"),
            json(" {}"),
            json("{broken"),
            json("null"),
            stored(|_| ()),
            stored(|parts| parts.payload = Bytes::new()),
            stored(|parts| parts.payload = (0..=255).collect()),
        ] {
            let element = element(&message, &envelope()).unwrap();
            assert_eq!(decode_element("jobs", &element).unwrap(), message);
        }
    }

    #[test]
    fn json_stands_there_as_a_job_runner_expects_it() {
        let message = OutboxMessage::json("jobs", &serde_json::json!({ "job": 7 })).unwrap().build().unwrap();
        let element = element(&message, &envelope()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&element).unwrap();
        assert_eq!((&value["data"]["job"], &value["type"]), (&7.into(), &"jobs".into()));
        assert_eq!(value["id"], message.id().to_string());
    }

    #[test]
    fn raw_is_the_payload() {
        let message = stored(|_| ());
        let raw = envelope().with_mode(EnvelopeMode::Raw);
        assert_eq!(&*element(&message, &raw).unwrap(), b"x");
        assert!(decode_element("jobs", b"x").is_err());
    }
}
