use outbox::memory::{MemoryTransport, Verdict};
use outbox::{OutboxMessage, PublishErrorKind};

use crate::shop::OrderPlaced;

/// A broker in this process that behaves as real ones do on a bad day.
pub(crate) fn unreliable() -> MemoryTransport {
    MemoryTransport::new().with_behaviour(|message, attempt| {
        let order = order_of(message);
        // The bad day ends before the example does.
        if order > 5_000 {
            return Verdict::Accept;
        }
        match attempt {
            // It refuses the first two tries of some messages. The customer's later events wait meanwhile.
            1 | 2 if order.is_multiple_of(250) => Verdict::Fail(PublishErrorKind::Retryable),
            // It takes a message, and its confirmation gets lost: nobody can know, so the message is sent again. This is
            // what "at least once" means, and why consumers drop what they have seen by the id.
            1 if order % 1_000 == 7 => Verdict::AcceptThenFail(PublishErrorKind::Unknown),
            _ => Verdict::Accept,
        }
    })
}

fn order_of(message: &OutboxMessage) -> u32 {
    serde_json::from_slice::<OrderPlaced>(message.payload()).map_or(0, |placed| placed.order)
}
