//! An outbox and a broker that live in the process: for tests, for simulations, and for services whose state is in
//! memory anyway.
//!
//! * [`MemoryStore`] does what the contract of [`OutboxStore`](outbox_core::OutboxStore) says and nothing else, so it is
//!   also the place to look up what a rule means. Transactions, late commits, leases and fences are real; only a crash
//!   of the process loses everything.
//! * [`MemoryTransport`] is a broker for subscribers in the same process. Given a script, it fails the way brokers fail.
//! * [`MemorySubscription`] receives from it as a consumer receives from any other broker.
//!
//! Both read tokio's clock, so a test with paused time runs hours of retries in milliseconds.
//!
//! ```
//! use outbox_core::{OutboxMessage, OutboxWriter};
//! use outbox_memory::{MemoryStore, MemoryWriter};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let mut transaction = store.begin();
//! let message = OutboxMessage::json("orders.placed", &7)?.ordering_key("order-7").build()?;
//! MemoryWriter.enqueue(&mut transaction, &message).await?;
//! assert!(store.pending().is_empty(), "nobody sees it before the commit");
//! transaction.commit();
//! assert_eq!(store.pending(), [message]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod clock;
mod store;
mod subscription;
mod transport;

pub use store::{MemoryStore, MemoryTransaction, MemoryWakeup, MemoryWriter};
pub use subscription::{MemoryDeadLetter, MemorySubscription};
pub use transport::{MemoryTransport, Verdict};
