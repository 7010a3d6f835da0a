use std::fmt;
use std::str::FromStr;

use outbox_core::OutboxMessage;

/// The header that carries a trace.
pub const TRACEPARENT: &str = "traceparent";

/// A place in a trace, as W3C Trace Context writes it: `00-<trace>-<span>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A header that is no `traceparent`. Such a header is treated as if it were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form 00-<32 hexadecimal digits>-<16>-<2>, with neither number 0")]
pub struct TraceParentError;

impl TraceParent {
    /// A place in a trace; `None` if one of the numbers is 0, which W3C forbids.
    #[must_use]
    pub const fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        if trace == 0 || span == 0 { None } else { Some(Self { trace, span, flags: sampled as u8 }) }
    }

    /// The trace of a message's producer, if it carries one.
    #[must_use]
    pub fn of(message: &OutboxMessage) -> Option<Self> {
        message.headers().get(TRACEPARENT)?.parse().ok()
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.trace
    }

    /// The span in it.
    #[must_use]
    pub const fn span_id(&self) -> u64 {
        self.span
    }

    /// Whether its beginning decided that it is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let mut parts = text.split('-');
        let (version, trace) = (hexadecimal(parts.next(), 2)?, hexadecimal(parts.next(), 32)?);
        let (span, flags) = (hexadecimal(parts.next(), 16)?, hexadecimal(parts.next(), 2)?);
        // A later version may have more parts; this one has none, and 255 is never a version.
        if version == 0xff || (version == 0 && parts.next().is_some()) || trace == 0 || span == 0 {
            return Err(TraceParentError);
        }
        let span = u64::try_from(span).map_err(|_| TraceParentError)?;
        let flags = u8::try_from(flags).map_err(|_| TraceParentError)?;
        Ok(Self { trace, span, flags })
    }
}

fn hexadecimal(part: Option<&str>, digits: usize) -> Result<u128, TraceParentError> {
    let part = part.filter(|part| part.len() == digits).ok_or(TraceParentError)?;
    // The parser of numbers also takes a sign and capitals.
    if !part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(TraceParentError);
    }
    u128::from_str_radix(part, 16).map_err(|_| TraceParentError)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn it_reads_what_it_writes() {
        let parsed: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parsed.to_string(), TEXT);
        assert!(parsed.is_sampled());
        assert_eq!(parsed.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(TraceParent::new(parsed.trace_id(), parsed.span_id(), true), Some(parsed));
        assert!(!TEXT.replace("-01", "-00").parse::<TraceParent>().unwrap().is_sampled());
        // A later version is read by what is known of it.
        let later: TraceParent = format!("cc{}-more", &TEXT[2..]).parse().unwrap();
        assert_eq!(later, parsed);
    }

    #[test]
    fn what_is_none_is_refused() {
        let trace_of_0 = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let span_of_0 = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let capitals = TEXT.to_uppercase();
        let more = format!("{TEXT}-00");
        let reserved = format!("ff{}", &TEXT[2..]);
        let signed = TEXT.replace("00f0", "+0f0");
        for text in
            ["", "00", "00-1-2-3", trace_of_0, span_of_0, &capitals, &more, &reserved, &signed, &TEXT[..54]]
        {
            assert_eq!(text.parse::<TraceParent>(), Err(TraceParentError), "{text}");
        }
        assert_eq!(TraceParent::new(0, 1, true), None);
    }

    #[test]
    fn a_message_carries_it_as_a_header() {
        let message = OutboxMessage::bytes("t", "").unwrap().header("Traceparent", TEXT).build().unwrap();
        assert_eq!(TraceParent::of(&message).map(|parent| parent.to_string()).as_deref(), Some(TEXT));
        let broken = OutboxMessage::bytes("t", "").unwrap().header("traceparent", "x").build().unwrap();
        assert_eq!(TraceParent::of(&broken), None);
    }
}
