//! An outbox and a broker that live in the process: for tests, for simulations, and for services whose state is in
//! memory anyway.
//!
//! * [`MemoryStore`] does what the contract of [`OutboxStore`](outbox_core::OutboxStore) says and nothing else, so it is
//!   also the place to look up what a rule means. Transactions, late commits, leases and fences are real; only a crash
//!   of the process loses everything.
//! * [`MemoryTransport`] is a broker for subscribers in the same process. Given a script, it fails the way brokers fail.
//! * [`MemorySubscription`] receives from it as a consumer receives from any other broker.
//!
//! * [`Engine`] keeps states under keys, with an outbox beside them. A [`Process`] returns a new state and its messages,
//!   and both are committed by compare-and-swap.
//!
//! All of them read tokio's clock, so a test with paused time runs hours of retries in milliseconds.
//!
//! # A transaction
//!
//! ```
//! use outbox_core::{OutboxMessage, OutboxWriter};
//! use outbox_memory::{MemoryStore, MemoryWriter};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
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
//!
//! # States and processes
//!
//! A process is a function without any effect but what it returns. So its test calls it, looks at the list, and mocks
//! nothing; and the messages of an attempt that lost are dropped with it.
//!
//! ```
//! # use std::borrow::Cow;
//! use outbox_core::{Event, Json, MessageError};
//! use outbox_memory::{Engine, MemoryTransport, Process, Step};
//! use outbox_relay::Relay;
//!
//! #[derive(Debug, PartialEq, serde::Serialize)]
//! struct Deposited {
//!     account: String,
//!     balance: u64,
//! }
//!
//! impl Event for Deposited {
//!     const TOPIC: &'static str = "accounts.deposited";
//!     type Codec = Json;
//!
//!     fn ordering_key(&self) -> Option<Cow<'_, str>> {
//!         Some(self.account.as_str().into())
//!     }
//! }
//!
//! fn deposit(account: &str, amount: u64) -> impl Process<u64, Output = (), Error = MessageError> {
//!     move |balance: &u64| {
//!         let balance = balance + amount;
//!         Step::new(balance).emit(Deposited { account: account.to_owned(), balance })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A test of the process.
//! let step = deposit("ada", 50).decide(&20)?;
//! assert_eq!(step.state, 70);
//! assert_eq!(step.emitted::<Deposited>(), [&Deposited { account: "ada".to_owned(), balance: 70 }]);
//!
//! // The service.
//! let engine: Engine<String, u64> = Engine::new();
//! let broker = MemoryTransport::new();
//! let relay = Relay::new(engine.outbox(), broker.clone()).wakeup(engine.outbox().wakeup()).start().await?;
//! engine.run("ada", deposit("ada", 20)).await?;
//! engine.run("ada", deposit("ada", 50)).await?;
//! relay.drained().await?;
//! let delivered = broker.delivered();
//! assert_eq!(delivered[1].payload().as_ref(), br#"{"account":"ada","balance":70}"#);
//! assert_eq!((*engine.state("ada"), engine.state("ada").version()), (70, 2));
//! # relay.shutdown().await?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod clock;
mod engine;
mod store;
mod subscription;
mod transport;

pub use engine::{Busy, Committed, Conflict, Engine, IntoStep, Process, RunError, State, Step};
pub use store::{MemoryStore, MemoryTransaction, MemoryWakeup, MemoryWriter};
pub use subscription::{MemoryDeadLetter, MemorySubscription};
pub use transport::{MemoryTransport, Verdict};
