use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::SharedString;
use futures_util::FutureExt;
use outbox_core::{
    ConsumerName, DeliverySource, HandlerError, HandlerErrorKind, InboxAdmin, MessageHandler, OutboxMessage,
    Processed, Receipt, StoreError, SubscribeError, dead_reason,
};
use tokio::time::{Instant, sleep, timeout};

use super::config::ConsumerConfig;
use super::report;
use super::stats::Counters;

/// When something is looked at again that the count of tries could not be written for.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// What all tries share.
pub(super) struct Shared<H> {
    pub(super) name: ConsumerName,
    /// The name, for metrics.
    pub(super) label: SharedString,
    pub(super) handler: H,
    pub(super) config: ConsumerConfig,
    pub(super) inbox: Option<Arc<dyn InboxAdmin>>,
    pub(super) counters: Counters,
    /// How often the broker is told that a delivery is still being worked on.
    pub(super) keep_alive: Option<Duration>,
}

/// A delivery that is to be handled.
pub(super) struct Item {
    pub(super) message: OutboxMessage,
    pub(super) receipt: Box<dyn Receipt>,
    /// How often it was handed out, if the broker counts.
    pub(super) attempt: Option<u32>,
    pub(super) source: Option<DeliverySource>,
    /// Tries that are known to have failed.
    pub(super) tries: u32,
    /// Whether tries were counted in the database.
    pub(super) counted: bool,
    /// How carefully it is to be tried.
    pub(super) care: Care,
    /// The count in the database holds its next try already: that of one that was none could not be taken back.
    pub(super) ahead: bool,
    /// It was given up before for this reason, and could not be moved to the dead letters.
    pub(super) given_up: Option<String>,
}

impl Item {
    /// Whether the broker has handed out the same once more, and not another copy of the message: the older delivery is
    /// over, or stands for the same as this one.
    pub(super) fn replaces(&self, older: &Self) -> bool {
        self.message.id() == older.message.id()
            && match (self.attempt, older.attempt, &self.source, &older.source) {
                (Some(newer), Some(older), ..) => newer > older,
                (None, None, Some(newer), Some(older)) => {
                    newer.topic == older.topic
                        && newer.partition == older.partition
                        && newer.assignment != older.assignment
                }
                _ => false,
            }
    }

    /// Takes the delivery that replaces its own, which is dropped: to settle it would settle nothing, or the same.
    pub(super) fn take_over(&mut self, newer: Self) {
        self.receipt = newer.receipt;
        self.attempt = newer.attempt;
        self.source = newer.source;
    }
}

/// How carefully something is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Care {
    /// As anything else.
    None,
    /// An earlier try may have taken the process down: the try is counted before it begins.
    Count,
    /// An earlier try was counted and has not ended: it is counted, and is to be made with nothing else under way.
    Alone,
}

/// How a try ended.
pub(super) enum Ended {
    /// It is settled, or as good as.
    Settled {
        /// It was tried for the first time that anybody knows of.
        first: bool,
    },
    /// It is to come again after this pause.
    Again(Item, Duration),
    /// It is to be tried alone.
    Alone(Item),
    /// It was given up for this reason, and could not be moved to the dead letters: it comes again.
    Unburied(String),
}

/// No pause is longer, whoever asks for it: a clock has an end.
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What counting a try has told.
enum Counted {
    /// How often it was tried.
    Tries,
    /// That there is nothing to try.
    Handled,
}

/// What the handler made of it.
enum Verdict {
    Done(Processed),
    Failed(String),
    Rejected(String),
    Unavailable(Duration, String),
}

impl<H: MessageHandler> Shared<H> {
    /// Handles a message once, and settles it, unless it is to come again.
    pub(super) async fn work(&self, mut item: Item) -> Ended {
        #[cfg(outbox_sabotage)]
        if outbox_core::sabotage::is("ack-before-commit") {
            let receipt = std::mem::replace(&mut item.receipt, Box::new(super::sabotage::Nothing));
            self.settled(receipt.ack().await);
        }
        if let Some(reason) = item.given_up.take() {
            return self.give_up(item, &reason).await;
        }
        let care = std::mem::replace(&mut item.care, Care::None);
        if care != Care::None {
            if care == Care::Count {
                self.counters.suspected.add(1);
            }
            match self.count(&mut item).await {
                Ok(Counted::Handled) => return self.was_handled(item).await,
                Ok(Counted::Tries) if item.tries > u32::from(self.config.retry.max_attempts) => {
                    let tries = item.tries - 1;
                    let reason = format!("given up after {tries} tries, the last of which did not end");
                    return self.give_up(item, &reason).await;
                }
                Ok(Counted::Tries) if care == Care::Count && item.counted && item.tries > 1 => {
                    // One that was counted before has not come to an end. This one is counted again when it is its turn:
                    // what waits beside the culprit must not be counted with it.
                    self.retract(&mut item).await;
                    item.care = Care::Alone;
                    return Ended::Alone(item);
                }
                Ok(Counted::Tries) => {}
                Err(error) => {
                    item.care = care;
                    return self.can_not_count(item, &error);
                }
            }
        }
        let counted = care != Care::None;
        let first = item.tries <= u32::from(counted);
        match self.handle(&mut item).await {
            Verdict::Done(Processed::Busy) => {
                self.counters.busy.add(1);
                self.no_try(item, care, self.config.busy_pause).await
            }
            Verdict::Done(done) => {
                let counter = match done {
                    Processed::Applied(()) => &self.counters.applied,
                    Processed::Duplicate => &self.counters.duplicates,
                    _ => &self.counters.skipped,
                };
                counter.add(1);
                self.acknowledge(item).await;
                // What was handled before is no message that was under way when the process died.
                Ended::Settled { first: first && done != Processed::Duplicate }
            }
            Verdict::Rejected(reason) => {
                self.counters.failed.add(1);
                self.give_up(item, &reason).await
            }
            Verdict::Unavailable(pause, reason) => {
                self.counters.unavailable.add(1);
                tracing::warn!(consumer = %self.name, message = %item.message.id(), "not handled now: {reason}");
                self.no_try(item, care, pause).await
            }
            Verdict::Failed(reason) => {
                self.counters.failed.add(1);
                self.failed(item, counted, &reason).await
            }
        }
    }

    async fn failed(&self, mut item: Item, counted: bool, reason: &str) -> Ended {
        if !counted {
            match self.count(&mut item).await {
                Ok(Counted::Tries) => {}
                // Its commit was not answered, and has been carried out.
                Ok(Counted::Handled) => return self.was_handled(item).await,
                // Not the message's fault, and without a count it might be tried for ever: it waits until there is one.
                Err(error) => return self.can_not_count(item, &error),
            }
        }
        let most = self.config.retry.max_attempts;
        if item.tries >= u32::from(most) {
            let reason = format!("given up after {} tries: {reason}", item.tries);
            return self.give_up(item, &reason).await;
        }
        let tries = u16::try_from(item.tries).unwrap_or(u16::MAX);
        let pause = self.config.retry.pause_after(tries, fastrand::f64());
        tracing::warn!(
            consumer = %self.name, message = %item.message.id(), topic = %item.message.topic(),
            "try {tries} of {most} failed, again in {pause:?}: {reason}"
        );
        self.counters.retried.add(1);
        Ended::Again(item, pause)
    }

    /// It was no try after all, and so it has not shown either that the process survives one: a suspect stays one.
    async fn no_try(&self, mut item: Item, care: Care, pause: Duration) -> Ended {
        if care != Care::None {
            self.retract(&mut item).await;
            item.care = care;
        }
        Ended::Again(item, pause.min(LONGEST_PAUSE))
    }

    async fn retract(&self, item: &mut Item) {
        item.tries = item.tries.saturating_sub(1);
        let Some(inbox) = &self.inbox else {
            return;
        };
        let retracted = inbox.retract_attempt(&self.name, item.message.id());
        if let Err(error) = self.keeping(&mut *item.receipt, retracted).await {
            // Left to add up, these would give it up without a failure.
            item.ahead = true;
            tracing::warn!(consumer = %self.name, message = %item.message.id(), "its next try is counted already: {error}");
        }
    }

    /// The inbox remembers it.
    async fn was_handled(&self, item: Item) -> Ended {
        self.counters.duplicates.add(1);
        self.acknowledge(item).await;
        Ended::Settled { first: false }
    }

    /// Counts one more try, in the database if there is an inbox.
    async fn count(&self, item: &mut Item) -> Result<Counted, StoreError> {
        let Some(inbox) = &self.inbox else {
            item.tries = item.tries.saturating_add(1);
            return Ok(Counted::Tries);
        };
        if std::mem::take(&mut item.ahead) {
            item.tries = item.tries.saturating_add(1);
            return Ok(Counted::Tries);
        }
        item.counted = true;
        let counted = inbox.count_attempt(&self.name, item.message.id());
        match self.keeping(&mut *item.receipt, counted).await? {
            Some(tries) => {
                item.tries = tries;
                Ok(Counted::Tries)
            }
            None => Ok(Counted::Handled),
        }
    }

    fn can_not_count(&self, item: Item, error: &StoreError) -> Ended {
        self.counters.unavailable.add(1);
        tracing::warn!(consumer = %self.name, message = %item.message.id(), "not handled now: {error}");
        Ended::Again(item, COUNT_PAUSE)
    }

    async fn handle(&self, item: &mut Item) -> Verdict {
        let Item { message, receipt, .. } = item;
        let limit = self.config.handler_timeout;
        // All of it may panic: the handler before it has returned a future, the future when it is dropped, its error when it
        // is asked for its text.
        let handled = async {
            match timeout(limit, self.handler.handle(message)).await {
                Ok(Ok(done)) => Verdict::Done(done),
                Ok(Err(error)) => verdict(&error),
                Err(_) => {
                    self.counters.timed_out.add(1);
                    Verdict::Failed(format!("the handler took longer than {limit:?}"))
                }
            }
        };
        let started = Instant::now();
        let result = self.keeping(&mut **receipt, AssertUnwindSafe(handled).catch_unwind()).await;
        report::handled(&self.label, started.elapsed());
        result.unwrap_or_else(|panic| {
            self.counters.panicked.add(1);
            Verdict::Failed(format!("the handler panicked: {}", text_of(&*panic)))
        })
    }

    /// Does some work, and tells the broker meanwhile that the delivery is still being worked on.
    async fn keeping<T>(&self, receipt: &mut dyn Receipt, work: impl Future<Output = T>) -> T {
        let Some(period) = self.keep_alive else {
            return work.await;
        };
        let alive = async {
            loop {
                sleep(period).await;
                if let Err(error) = receipt.extend().await {
                    // It may come again, to somebody else; the inbox knows what to do.
                    tracing::debug!(consumer = %self.name, "the broker was not told about ongoing work: {error}");
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = alive => match never {},
        }
    }

    async fn acknowledge(&self, mut item: Item) {
        // Before the acknowledgement: who dies in between is told by the inbox that it was handled, and forgets then.
        if item.counted || item.tries > 0 {
            self.keeping(&mut *item.receipt, self.forget(item.message.id())).await;
        }
        self.settled(item.receipt.ack().await);
    }

    /// Moves a message to the dead letters. If that fails it comes again, and goes there without another try.
    async fn give_up(&self, item: Item, reason: &str) -> Ended {
        let (id, topic) = (*item.message.id(), item.message.topic().clone());
        tracing::error!(consumer = %self.name, message = %id, topic = %topic, "to the dead letters: {reason}");
        let buried = item.receipt.dead_letter(reason).await;
        if buried.is_ok() {
            self.counters.dead.add(1);
            // Whoever sends it back in wants it to be tried.
            self.forget(&id).await;
        }
        let ended = if buried.is_ok() {
            Ended::Settled { first: true }
        } else {
            Ended::Unburied(dead_reason(reason))
        };
        self.settled(buried);
        ended
    }

    async fn forget(&self, id: &outbox_core::MessageId) {
        if let Some(inbox) = &self.inbox
            && let Err(error) = inbox.forget_attempts(&self.name, id).await
        {
            tracing::debug!(consumer = %self.name, message = %id, "its tries are still counted: {error}");
        }
    }

    pub(super) fn settled(&self, settled: Result<(), SubscribeError>) {
        if let Err(error) = settled {
            self.counters.settle_errors.add(1);
            tracing::warn!(consumer = %self.name, "a settlement is lost, the message may come again: {error}");
        }
    }
}

fn verdict(error: &HandlerError) -> Verdict {
    let reason = error.reason();
    match error.kind() {
        HandlerErrorKind::Rejected => Verdict::Rejected(reason),
        HandlerErrorKind::Unavailable { retry_after } => Verdict::Unavailable(retry_after, reason),
        _ => Verdict::Failed(reason),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}
