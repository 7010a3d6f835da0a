use std::borrow::Cow;

use bytes::Bytes;
use outbox_core::{
    DecodeError, Envelope, EnvelopeMode, EnvelopeNames, HeaderName, Incoming, KEY_HEADER, MessageError,
    OrderingKey, OutboxMessage,
};
use redis::Cmd;

/// The field of the payload.
pub(crate) const PAYLOAD: &str = "payload";
/// What stands before the name of a user's header, so that none can pass for a field of ours.
const USER: &str = "header.";

/// `XADD` of a message to a stream.
pub(crate) fn add(
    message: &OutboxMessage,
    key: &str,
    envelope: &Envelope,
    maxlen: Option<u64>,
) -> Result<Cmd, MessageError> {
    // The command, the key and the star, then two for each field.
    let mut cmd = Cmd::with_capacity(32 + 2 * message.headers().len(), message.size() + 512);
    cmd.arg("XADD").arg(key);
    if let Some(maxlen) = maxlen {
        cmd.arg("MAXLEN").arg("~").arg(maxlen);
    }
    cmd.arg("*");
    let mut user = String::from(USER);
    envelope.write::<MessageError>(message, |name, value| {
        match name {
            HeaderName::Fixed(name) => cmd.arg(name),
            HeaderName::User(name) => {
                user.truncate(USER.len());
                user.push_str(name);
                cmd.arg(&user)
            }
        };
        cmd.arg(value);
        Ok(())
    })?;
    if envelope.mode() == EnvelopeMode::CloudEvents
        && let Some(key) = message.ordering_key().map(OrderingKey::as_str)
    {
        cmd.arg(KEY_HEADER).arg(key);
    }
    cmd.arg(PAYLOAD).arg(&message.payload()[..]);
    Ok(cmd)
}

/// Reads an entry of a stream that [`RedisTransport`](crate::RedisTransport) has written, for a consumer with a client of
/// its own. `topic` is the key of the stream, without the prefix.
///
/// # Errors
///
/// [`DecodeError`] if it is not one.
pub fn decode_entry<'a>(
    topic: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<OutboxMessage, DecodeError> {
    let mut payload = None;
    let mut others = Vec::new();
    for (name, value) in fields {
        if name == PAYLOAD {
            payload = Some(Bytes::copy_from_slice(value));
        } else {
            others.push((name, value));
        }
    }
    decode(topic, payload, others)
}

/// The same, without a copy of the payload.
pub(crate) fn decode<'a>(
    topic: &str,
    payload: Option<Bytes>,
    others: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<OutboxMessage, DecodeError> {
    let missing = || DecodeError::MalformedBody { problem: "the entry has no field payload".to_owned() };
    let mut incoming = Incoming::new(topic, payload.ok_or_else(missing)?);
    for (name, value) in others {
        // A field that is no text is not ours.
        let Ok(value) = std::str::from_utf8(value) else { continue };
        let reserved = outbox_core::is_reserved_header;
        let name = match name.strip_prefix(USER) {
            Some(name) if !reserved(name) => name,
            None if reserved(name) => name,
            _ => continue,
        };
        incoming.headers.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }
    Envelope::new(EnvelopeNames::HYPHEN).read(incoming)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_cannot_pass_for_a_field_of_ours() {
        let id = outbox_core::MessageId::new().to_string();
        let fields = [
            ("ce-id", id.as_bytes()),
            ("ce-type", b"OrderPlaced"),
            ("header.ce-type", b"forged"),
            ("header.outbox-key", b"forged"),
            ("header.payload", b"mine"),
            ("somebody's", b"own"),
            ("payload", b"\xff"),
        ];
        let message = decode_entry("orders", fields).unwrap();
        assert_eq!((message.event_type(), message.ordering_key()), ("OrderPlaced", None));
        assert_eq!(message.headers().iter().collect::<Vec<_>>(), [("payload", "mine")]);
        assert_eq!(&message.payload()[..], b"\xff");
        assert!(matches!(
            decode_entry("orders", [("ce-id", &b"x"[..])]),
            Err(DecodeError::MalformedBody { .. })
        ));
    }
}
