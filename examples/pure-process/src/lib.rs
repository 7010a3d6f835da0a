//! A market as pure functions: a decision returns the new state and its messages, and does nothing else.

#![forbid(unsafe_code)]

mod book;
mod events;
mod process;

pub use book::{Book, Offer};
pub use events::{Offered, Traded};
pub use process::{Bid, Refused, buy, sell};

/// The code of the page is run like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scenarios/pure-process.md")]
struct Page;
