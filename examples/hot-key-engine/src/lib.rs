//! Many workers, one state: every version once, every message of a commit once, and none of an attempt that was lost.

#![forbid(unsafe_code)]

mod count;
mod report;
mod storm;

pub use count::{Counted, count};
pub use report::{Commit, Report};
pub use storm::Storm;

/// The code of the page is run like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/scenarios/hot-key-engine.md")]
struct Page;
