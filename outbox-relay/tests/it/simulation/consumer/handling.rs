use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outbox_core::{Admission, HandlerError, MessageHandler, MessageId, OutboxMessage, Processed};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::script::chance;
use super::inbox::Inbox;
use super::ledger::{Ledger, Outcome};
use super::plan::Nature;

/// The handler of one member: does what chance says, in a transaction of the inbox.
pub(super) struct Handling {
    pub(super) member: usize,
    pub(super) ledger: Arc<Ledger>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) temper: Option<u64>,
    /// Nothing goes wrong any more, but for messages that are bad by nature.
    pub(super) calm: Arc<AtomicBool>,
    /// For messages that take the process down.
    pub(super) kill: mpsc::UnboundedSender<usize>,
}

/// What a try does.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Works,
    Fails,
    Panics,
    Hangs,
    Rejects,
    Skips,
    Kills,
    /// Somebody else is at it.
    Busy,
    /// Something that it needs is away.
    Unavailable,
}

/// A panic that nobody is told about but who catches it.
struct OutOfInk;

impl MessageHandler for Handling {
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        let id = *message.id();
        let nth = self.ledger.begins(self.member, id);
        let mut running = Running { handling: self, id, outcome: None };
        let (deed, time) = self.deed(&id, nth);
        self.ledger
            .note(|| format!("member {} begins {}, try {nth}: {deed:?}", self.member, self.ledger.name(&id)));
        let handled = self.work(id, deed, time).await;
        running.outcome = Some(match &handled {
            Ok(Processed::Busy) => Outcome::NoTry,
            Ok(Processed::Skipped) => Outcome::Skipped,
            Ok(_) => Outcome::Handled,
            Err(error) => match error.kind() {
                outbox_core::HandlerErrorKind::Rejected => Outcome::Rejected,
                outbox_core::HandlerErrorKind::Unavailable { .. } => Outcome::NoTry,
                _ => Outcome::Failed,
            },
        });
        handled
    }
}

impl Handling {
    async fn work(&self, id: MessageId, deed: Deed, time: Duration) -> Result<Processed, HandlerError> {
        let (admission, transaction) = self.inbox.admit(id).await?;
        let transaction = match (admission, transaction) {
            (Admission::Duplicate, _) => return Ok(Processed::Duplicate),
            (_, Some(transaction)) => transaction,
            _ => return Ok(Processed::Busy),
        };
        sleep(time).await;
        match deed {
            Deed::Works => {}
            Deed::Fails => Err("no such account")?,
            Deed::Panics => std::panic::resume_unwind(Box::new(OutOfInk)),
            Deed::Hangs => std::future::pending().await,
            Deed::Rejects => return Err(HandlerError::rejected("not an order")),
            Deed::Skips => return Ok(Processed::Skipped),
            Deed::Kills => {
                self.ledger.kills(&id);
                let _ = self.kill.send(self.member);
                std::future::pending().await
            }
            Deed::Busy => return Ok(Processed::Busy),
            Deed::Unavailable => {
                return Err(HandlerError::unavailable(Duration::from_secs(3), "the bank is closed"));
            }
        }
        transaction.commit().await?;
        Ok(Processed::Applied(()))
    }

    /// What happens in a try, and how long it takes.
    fn deed(&self, id: &MessageId, nth: u32) -> (Deed, Duration) {
        let temper = self.temper.filter(|_| !self.calm.load(Ordering::Relaxed));
        let chance = temper.map_or(u64::MAX, |temper| chance(temper, id.as_uuid().as_u128(), nth));
        let deed = match (self.ledger.nature(id), chance % 1_000) {
            (Nature::Poison, _) => Deed::Fails,
            (Nature::Killer, _) => Deed::Kills,
            (Nature::Slow, _) => return (Deed::Works, Duration::from_secs(5)),
            _ if temper.is_none() => Deed::Works,
            (_, 0..60) => Deed::Fails,
            (_, 60..90) => Deed::Panics,
            (_, 90..100) => Deed::Hangs,
            (_, 100..108) => Deed::Rejects,
            (_, 108..116) => Deed::Skips,
            (_, 116..120) => Deed::Kills,
            (_, 120..150) => Deed::Busy,
            (_, 150..190) => Deed::Unavailable,
            _ => Deed::Works,
        };
        let time = match (chance >> 32) % 8 {
            _ if temper.is_none() => 0,
            0..3 => 0,
            3..7 => (chance >> 40) % 50,
            _ => (chance >> 40) % 4_000,
        };
        (deed, Duration::from_millis(time))
    }
}

struct Running<'h> {
    handling: &'h Handling,
    id: MessageId,
    outcome: Option<Outcome>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Handling { member, ledger, .. } = self.handling;
        ledger.note(|| match self.outcome {
            Some(outcome) => {
                format!("member {member} is through with {}: {outcome:?}", ledger.name(&self.id))
            }
            None => format!("member {member} drops {}", ledger.name(&self.id)),
        });
        ledger.ends(*member, self.id, self.outcome);
    }
}
