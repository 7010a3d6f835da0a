use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Admission, ConsumerName, InboxAdmin, MessageId, StoreError, StoreErrorKind};
use tokio::time::sleep;

use super::ledger::Ledger;

/// The database of the inbox: what was handled, by which transaction it is being handled, and how often it was tried.
pub(super) struct Inbox {
    ledger: Arc<Ledger>,
    latency: Duration,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    handled: HashSet<MessageId>,
    /// Admitted by transactions that are open.
    open: HashSet<MessageId>,
    tries: HashMap<MessageId, u32>,
    down: bool,
    refuse: usize,
    lose_answers: usize,
}

/// The database did not do it, or did not say so.
#[derive(Debug, thiserror::Error)]
#[error("the database is away")]
pub(super) struct Away;

impl Inbox {
    pub(super) fn new(ledger: Arc<Ledger>, latency: Duration) -> Self {
        Self { ledger, latency, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    pub(super) fn set_down(&self, down: bool) {
        self.tables().down = down;
    }

    pub(super) fn refuse(&self, writes: usize) {
        self.tables().refuse += writes;
    }

    pub(super) fn lose_answers(&self, writes: usize) {
        self.tables().lose_answers += writes;
    }

    /// All is well from now on.
    pub(super) fn heal(&self) {
        let mut tables = self.tables();
        (tables.down, tables.refuse, tables.lose_answers) = (false, 0, 0);
    }

    /// Begins the transaction of a handler. Unless its message is fresh, there is none.
    pub(super) async fn admit(&self, id: MessageId) -> Result<(Admission, Option<Transaction<'_>>), Away> {
        sleep(self.latency).await;
        let mut tables = self.tables();
        if tables.down {
            return Err(Away);
        }
        if tables.handled.contains(&id) {
            return Ok((Admission::Duplicate, None));
        }
        if !tables.open.insert(id) {
            return Ok((Admission::Busy, None));
        }
        Ok((Admission::Fresh, Some(Transaction { inbox: self, id })))
    }

    /// A statement that commits by itself.
    async fn write<T>(
        &self,
        operation: &'static str,
        carry_out: impl FnOnce(&mut Tables) -> T,
    ) -> Result<T, StoreError> {
        sleep(self.latency).await;
        let away = || StoreError::new(StoreErrorKind::Unavailable, operation, "no database");
        let done = {
            let mut tables = self.tables();
            if tables.down {
                return Err(away());
            }
            if tables.refuse > 0 {
                tables.refuse -= 1;
                return Err(away());
            }
            let done = carry_out(&mut tables);
            if tables.lose_answers > 0 {
                tables.lose_answers -= 1;
                return Err(away());
            }
            done
        };
        sleep(self.latency).await;
        Ok(done)
    }
}

/// The transaction of a handler. It is rolled back unless it is committed.
pub(super) struct Transaction<'i> {
    inbox: &'i Inbox,
    id: MessageId,
}

impl Transaction<'_> {
    pub(super) async fn commit(self) -> Result<(), Away> {
        let committed = self.inbox.write("commit", |tables| {
            tables.handled.insert(self.id);
            self.inbox.ledger.takes_effect(&self.id);
        });
        committed.await.map_err(|_| Away)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.inbox.tables().open.remove(&self.id);
    }
}

/// Remembers that a count is one too high, unless it is told otherwise.
struct Miscount<'i> {
    ledger: &'i Ledger,
    id: &'i MessageId,
    counts: bool,
}

impl Drop for Miscount<'_> {
    fn drop(&mut self) {
        if self.counts {
            self.ledger.miscounts(self.id);
        }
    }
}

#[async_trait]
impl InboxAdmin for Inbox {
    async fn count_attempt(&self, _: &ConsumerName, id: &MessageId) -> Result<Option<u32>, StoreError> {
        // Carried out and not answered, or answered to nobody.
        let mut miscount = Miscount { ledger: &self.ledger, id, counts: false };
        let count = self.write("count", |tables| {
            if tables.handled.contains(id) {
                return None;
            }
            miscount.counts = true;
            let tries = tables.tries.entry(*id).or_default();
            *tries += 1;
            Some(*tries)
        });
        let count = count.await;
        if count.is_ok() {
            miscount.counts = false;
        }
        self.ledger.note(|| format!("count {}: {count:?}", self.ledger.name(id)));
        count
    }

    async fn retract_attempt(&self, _: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        // Not carried out.
        let mut miscount = Miscount { ledger: &self.ledger, id, counts: true };
        let retracted = self.write("retract", |tables| {
            miscount.counts = false;
            if let Some(tries) = tables.tries.get_mut(id) {
                *tries -= 1;
            }
            tables.tries.retain(|_, tries| *tries > 0);
        });
        let retracted = retracted.await;
        self.ledger.note(|| format!("retract {}: {retracted:?}", self.ledger.name(id)));
        retracted
    }

    async fn forget_attempts(&self, _: &ConsumerName, id: &MessageId) -> Result<(), StoreError> {
        // Not carried out: what a handler skipped is nowhere, and still counted when it comes again.
        let mut miscount = Miscount { ledger: &self.ledger, id, counts: true };
        let forgotten = self.write("forget", |tables| {
            miscount.counts = false;
            tables.tries.remove(id);
        });
        forgotten.await
    }

    async fn purge_inbox(&self, _: &ConsumerName, _: Duration, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}
