use anyhow::Result;
use outbox_core::OutboxMessage;

/// Bytes of a payload: a small event.
pub(crate) const PAYLOAD: usize = 200;

/// Different ordering keys.
pub(crate) const KEYS: u32 = 5_000;

/// Rows per claim of the bare loops, and messages per publish of the relay.
pub(crate) const BATCH: usize = 1_000;

/// Where messages go that name no topic of their own.
const TOPIC: &str = "bench.orders";

/// Bytes of payload in one `INSERT` at most.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// Messages per round.
    pub(crate) messages: u32,
    /// Text headers per message.
    pub(crate) headers: u32,
    /// Rounds. The best one counts: whatever else the machine does makes a round slower, never faster.
    pub(crate) rounds: u32,
    /// Bursts while an old snapshot is held.
    pub(crate) bursts: u32,
    /// Messages per burst.
    pub(crate) burst: u32,
    /// The longest backlog.
    pub(crate) backlog: u32,
}

/// How messages are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Not at all.
    None,
    /// By [`KEYS`] keys.
    Many,
    /// All by the same key.
    One,
}

impl Keys {
    pub(crate) fn name(self) -> String {
        match self {
            Self::None => "no keys".to_owned(),
            Self::Many => format!("{KEYS} keys"),
            Self::One => "one hot key".to_owned(),
        }
    }
}

/// What the messages of a run look like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) topic: String,
    pub(crate) keys: Keys,
    /// Bytes of the payload.
    pub(crate) payload: usize,
    /// Text headers.
    pub(crate) headers: u32,
}

impl Workload {
    pub(crate) const FULL: Self =
        Self { messages: 200_000, headers: 0, rounds: 5, bursts: 10, burst: 50_000, backlog: 1_000_000 };
    pub(crate) const QUICK: Self =
        Self { messages: 50_000, headers: 0, rounds: 1, bursts: 5, burst: 20_000, backlog: 100_000 };

    /// The usual messages: 200 bytes, 5,000 keys.
    pub(crate) fn shape(&self) -> Shape {
        Shape { topic: TOPIC.to_owned(), keys: Keys::Many, payload: PAYLOAD, headers: self.headers }
    }

    /// Whether a first impression is enough.
    pub(crate) const fn is_quick(&self) -> bool {
        self.rounds <= Self::QUICK.rounds
    }
}

impl Shape {
    /// The usual messages to this topic.
    pub(crate) fn to(topic: &str, keys: Keys) -> Self {
        Self { topic: topic.to_owned(), keys, payload: PAYLOAD, headers: 0 }
    }

    /// Messages in parts that a single `INSERT` takes.
    pub(crate) fn parts(self, count: u32) -> impl Iterator<Item = Result<Vec<OutboxMessage>>> + use<> {
        let most = (PART_BYTES / self.payload.max(1)).clamp(1, BATCH);
        let size = u32::try_from(most).unwrap_or(u32::MAX);
        let payload = payload(self.payload);
        (0..count.div_ceil(size)).map(move |part| {
            let numbers = part * size..count.min((part + 1) * size);
            numbers.map(|number| self.message(number, payload.clone())).collect()
        })
    }

    fn message(&self, number: u32, payload: Vec<u8>) -> Result<OutboxMessage> {
        let message = OutboxMessage::bytes(&self.topic, payload)?.event_type("OrderPlaced");
        let message = match self.keys {
            Keys::None => message,
            Keys::Many => message.ordering_key(format_args!("order-{}", number % KEYS)),
            Keys::One => message.ordering_key("order-0"),
        };
        let message = (0..self.headers).fold(message, |message, header| {
            let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            message.header(format!("header-{header}"), value)
        });
        Ok(message.build()?)
    }
}

/// A payload that does not compress to nothing, the same in every run.
fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(4)).flat_map(|_| next()).take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_up_the_whole() {
        let workload = Workload { headers: 1, ..Workload::QUICK };
        let parts: Vec<_> = workload.shape().parts(2_500).map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        let last = &parts[2][499];
        assert_eq!(last.ordering_key().unwrap().as_str(), "order-2499");
        assert_eq!((last.payload().len(), last.headers().len()), (PAYLOAD, 1));
    }

    #[test]
    fn large_messages_make_small_parts() {
        let shape = Shape { payload: 1_000_000, ..Shape::to("large", Keys::None) };
        let parts: Vec<_> = shape.parts(10).map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [8, 2]);
        assert_eq!(parts[1][1].ordering_key(), None);
    }
}
