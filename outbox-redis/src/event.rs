use std::borrow::Cow;
#[cfg(feature = "subscription")]
use std::collections::BTreeMap;
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
struct Event<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
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
    let event = Event {
        specversion: "1.0".into(),
        id: message.id().to_string().into(),
        source: envelope.source().into(),
        kind: message.event_type().into(),
        subject: message.aggregate_id().map(Into::into),
        time: message.created_at().and_then(time).map(Into::into),
        datacontenttype: Some(message.content_type().into()),
        partitionkey: message.ordering_key().map(|key| key.as_str().into()),
        aggregatetype: message.aggregate_type().map(Into::into),
        schemaversion: Some(message.schema_version().to_string().into()),
        correlationid: message.correlation_id().map(Into::into),
        outboxheaders: (!message.headers().is_empty()).then(|| message.headers().to_json().into()),
        data: None,
        data_base64: None,
    };
    let data = as_json(message);
    let room = data.map_or_else(|| payload.len().div_ceil(3) * 4, |data| data.get().len());
    let mut json = Vec::with_capacity(room + message.size() - payload.len() + 512);
    serde_json::to_writer(&mut json, &event).map_err(MessageError::Serialize)?;
    // The payload is the last member, written behind the others: as it stands there it needs no escaping, and a large one
    // is looked at once.
    json.pop();
    match data {
        Some(data) => {
            json.extend_from_slice(b",\"data\":");
            json.extend_from_slice(data.get().as_bytes());
            json.push(b'}');
        }
        None => {
            json.extend_from_slice(b",\"data_base64\":\"");
            append_base64(payload, &mut json);
            json.extend_from_slice(b"\"}");
        }
    }
    Ok(Cow::Owned(json))
}

fn append_base64(bytes: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    to.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut to[start..]).unwrap_or_default();
    to.truncate(start + written);
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
    let dead = [
        ("outboxdeadreason", outbox_core::dead_reason(reason)),
        ("outboxdeadgroup", group.to_owned()),
        ("outboxdeadtopic", topic.to_owned()),
    ];
    // Whatever else an event has stays as it is, also what another program has put there.
    if serde_json::from_slice::<Event<'_>>(element).is_ok()
        && let Ok(mut event) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(element)
    {
        for (name, value) in &dead {
            if let Ok(value) = serde_json::value::to_raw_value(value) {
                event.insert((*name).to_owned(), value);
            }
        }
        if let Ok(json) = serde_json::to_vec(&event) {
            return json;
        }
    }
    let mut foreign: BTreeMap<&str, String> = dead.into();
    foreign.insert("data_base64", STANDARD.encode(element));
    serde_json::to_vec(&foreign).unwrap_or_default()
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
        let json = |payload: &str| {
            stored(|parts| {
                parts.content_type = "application/json".into();
                parts.payload = Bytes::copy_from_slice(payload.as_bytes());
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
            json("\"\\ud800 \u{1F980}\""),
            // Deeper than a parser that recurses would follow.
            json(&("[".repeat(1_000) + &"]".repeat(1_000))),
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

    #[cfg(feature = "subscription")]
    #[test]
    fn a_dead_letter_keeps_what_it_was() {
        let message = OutboxMessage::json("jobs", &["x"]).unwrap().header("tenant", "a").build().unwrap();
        let alive = element(&message, &envelope()).unwrap();
        let extended = [b"{\"traceparent\":\"00-1\",", &alive[1..]].concat();
        let dead = buried(&extended, "no\r\nuse", "billing", "jobs");
        assert_eq!(decode_element("jobs", &dead).unwrap(), message, "it can be published again");
        let twice = buried(&dead, "still", "billing", "billing.dead");
        let value: serde_json::Value = serde_json::from_slice(&twice).unwrap();
        assert_eq!((&value["outboxdeadreason"], &value["traceparent"]), (&"still".into(), &"00-1".into()));
        let foreign = buried(b"{\"job\":7}", "no use", "billing", "jobs");
        let value: serde_json::Value = serde_json::from_slice(&foreign).unwrap();
        assert_eq!(value["data_base64"], STANDARD.encode("{\"job\":7}"));
        assert_eq!(value["outboxdeadtopic"], "jobs");
    }

    #[test]
    fn raw_is_the_payload() {
        let message = stored(|_| ());
        let raw = envelope().with_mode(EnvelopeMode::Raw);
        assert_eq!(&*element(&message, &raw).unwrap(), b"x");
        assert!(decode_element("jobs", b"x").is_err());
    }
}
