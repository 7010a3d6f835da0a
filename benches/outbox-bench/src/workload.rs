use anyhow::Result;
use outbox_core::OutboxMessage;

/// Bytes of a payload: a small event.
const PAYLOAD: usize = 200;

/// Different ordering keys.
const KEYS: u32 = 5_000;

/// Rows per claim of the bare loops, and messages per publish of the relay.
pub(crate) const BATCH: usize = 1_000;

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
}

impl Workload {
    pub(crate) const FULL: Self =
        Self { messages: 200_000, headers: 0, rounds: 5, bursts: 10, burst: 50_000 };
    pub(crate) const QUICK: Self = Self { messages: 50_000, headers: 0, rounds: 2, bursts: 5, burst: 20_000 };

    /// Messages from one number up to another, in parts that a single `INSERT` takes.
    pub(crate) fn parts(&self, count: u32) -> impl Iterator<Item = Result<Vec<OutboxMessage>>> + use<> {
        let (headers, payload) = (self.headers, payload());
        let size = u32::try_from(BATCH).unwrap_or(u32::MAX);
        (0..count.div_ceil(size)).map(move |part| {
            let numbers = part * size..count.min((part + 1) * size);
            numbers.map(|number| message(number, headers, payload.clone())).collect()
        })
    }
}

fn message(number: u32, headers: u32, payload: Vec<u8>) -> Result<OutboxMessage> {
    let message = OutboxMessage::bytes("bench.orders", payload)?
        .ordering_key(format_args!("order-{}", number % KEYS))
        .event_type("OrderPlaced");
    let message = (0..headers).fold(message, |message, header| {
        message.header(format!("header-{header}"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    });
    Ok(message.build()?)
}

/// A payload that does not compress to nothing, the same in every run.
fn payload() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..PAYLOAD.div_ceil(4)).flat_map(|_| next()).take(PAYLOAD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_up_the_whole() {
        let workload = Workload { headers: 1, ..Workload::QUICK };
        let parts: Vec<_> = workload.parts(2_500).map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        let last = &parts[2][499];
        assert_eq!(last.ordering_key().unwrap().as_str(), "order-2499");
        assert_eq!((last.payload().len(), last.headers().len()), (PAYLOAD, 1));
    }
}
