mod admin;
mod contract;
mod faults;
mod inbox;
mod leases;
mod operator;
mod reads;
mod script;
mod settle;
mod tables;
mod transaction;
mod wakeup;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outbox_core::{OutboxMessage, ShardSet, StoreError, StoreErrorKind};
use tokio::sync::watch;

use crate::clock::{Clock, Micros};
use faults::{Fault, Faults, injected};
use tables::{Row, Tables};
pub use transaction::{MemoryTransaction, MemoryWriter};
pub use wakeup::MemoryWakeup;

/// An outbox in memory: the contract of [`OutboxStore`](outbox_core::OutboxStore) in plain code. A clone is another
/// handle to the same outbox.
///
/// Its time is tokio's, so leases run out and messages fall due as a test moves the clock.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    tables: Mutex<Tables>,
    faults: Mutex<Faults>,
    commits: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty outbox with 16 shards.
    #[must_use]
    pub fn new() -> Self {
        Self::with_shards(16)
    }

    /// An empty outbox with this many shards: rounded up to a power of two, at most 64.
    #[must_use]
    pub fn with_shards(count: u8) -> Self {
        let count = count.clamp(1, ShardSet::MAX).next_power_of_two();
        Self::from_tables(Tables::new(count, true))
    }

    /// An outbox without tables: every operation but `migrate` fails, as with an empty database.
    #[must_use]
    pub fn unmigrated() -> Self {
        Self::from_tables(Tables::new(16, false))
    }

    fn from_tables(tables: Tables) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock: Clock::start(),
                tables: Mutex::new(tables),
                faults: Mutex::default(),
                commits: watch::Sender::new(0),
            }),
        }
    }

    /// Opens a transaction.
    pub fn begin(&self) -> MemoryTransaction {
        MemoryTransaction::begin(self.clone())
    }

    /// Writes messages in a transaction of their own.
    pub fn enqueue_all(&self, messages: &[OutboxMessage]) {
        self.append(messages.iter().cloned());
        if !messages.is_empty() {
            self.announce();
        }
    }

    /// A transaction that begins and commits under one lock, so that no other can commit between. Whoever calls it
    /// announces the commit once its own locks are released.
    pub(crate) fn append(&self, messages: impl IntoIterator<Item = OutboxMessage>) {
        let mut tables = self.tables();
        let now = self.now();
        let transaction = tables.begin();
        for message in messages {
            let seq = tables.next_seq(transaction);
            tables.fresh.insert(seq, Row::inserted(seq, message, now));
        }
        tables.open.remove(&transaction);
    }

    /// A hint after every commit from now on.
    #[must_use]
    pub fn wakeup(&self) -> MemoryWakeup {
        MemoryWakeup::new(self.shared.commits.subscribe())
    }

    pub(crate) fn announce(&self) {
        self.shared.commits.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn now(&self) -> Micros {
        self.shared.clock.now()
    }

    /// No code under these locks can leave the tables half changed, so a panic elsewhere in a test is no reason to stop.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One operation of the interface: counted, delayed or failed as a test asked, and carried out under the lock.
    async fn operation<T>(
        &self,
        name: &'static str,
        run: impl FnOnce(&mut Tables, Micros) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let (fault, latency) = {
            let mut faults = self.faults();
            (faults.count(name), faults.latency)
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(Fault::Refuse(kind)) = fault {
            return Err(injected(kind, name));
        }
        let result = {
            let mut tables = self.tables();
            if !tables.migrated && name != "migrate" && name != "schema_check" {
                let text = "the outbox has no tables; run the migrations";
                return Err(StoreError::new(StoreErrorKind::NotMigrated, name, text));
            }
            // Read under the lock: operations that follow each other see times that do, too.
            let now = self.now();
            run(&mut tables, now)
        };
        match fault {
            Some(Fault::LoseReply(kind)) => Err(injected(kind, name)),
            _ => result,
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}
