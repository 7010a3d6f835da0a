/// What the subject for the acknowledgement says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivered<'a> {
    pub(crate) stream: &'a str,
    pub(crate) consumer: &'a str,
    /// How often it was delivered, this time included.
    pub(crate) attempt: u32,
    /// Its place in the stream.
    pub(crate) sequence: &'a str,
}

impl<'a> Delivered<'a> {
    /// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<sequence of the consumer>.<time>.<pending>`; newer servers
    /// may put domain and account in front of the stream.
    pub(crate) fn parse(reply: &'a str) -> Option<Self> {
        let parts: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let known = match parts.len() {
            7 => &parts[..],
            9.. => &parts[2..],
            _ => return None,
        };
        let [stream, consumer, attempt, sequence, ..] = known else {
            return None;
        };
        let attempt = attempt.parse::<u64>().ok()?;
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        Some(Self { stream, consumer, attempt, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = Delivered { stream: "S", consumer: "g@t", attempt: 3, sequence: "100" };
        for reply in [
            "$JS.ACK.S.g@t.3.100.7.1790230470084404000.42",
            "$JS.ACK._.hash.S.g@t.3.100.7.1790230470084404000.42",
            "$JS.ACK.hub.hash.S.g@t.3.100.7.1790230470084404000.42.token",
        ] {
            assert_eq!(Delivered::parse(reply), Some(expected), "{reply}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for reply in ["", "_INBOX.x", "$JS.ACK.S.c.1.2.3.4", "$JS.ACK.S.c.x.2.3.4.5"] {
            assert_eq!(Delivered::parse(reply), None, "{reply}");
        }
    }
}
